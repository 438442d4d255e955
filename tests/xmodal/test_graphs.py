"""Encoders as modules of tensors give what the model gives: also those that pack sequences, and frozen ones."""

from typing import Any

import pytest
import torch

from tests.xmodal import tiny
from tests.xmodal.test_encoders_pretrained import BERT, VISION, pixels
from xmodal.graphs import ImageGraph, TextGraph

BIGRU = {"kind": "bigru", "length": 8, "width": 8, "word_dim": 6}
VIT = {"kind": "hugging_face", "config": {"model_type": "vit", **VISION}}
CASES: dict[str, dict[str, Any]] = {
    "own": {},
    "packed": {"text": BIGRU, "pooling": {"kind": "gpo"}},
    "enhanced": {
        "image_enhance": [{"kind": "self_guided"}],
        "text_enhance": [{"kind": "residual_attention", "heads": 2}],
    },
    "frozen": {"image": VIT, "text": {"kind": "hugging_face", "config": BERT, "length": 8, "pool": "mean"}},
    "guided": {
        "image": {"kind": "guided", "tokens": VIT, "guide": VIT, "guide_width": 16},
        "image_enhance": [{"kind": "clip_guided", "guide_width": 16}],
    },
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_graphs_give_the_models_vectors(case: str) -> None:
    network = tiny.model(**CASES[case]).eval()
    side = 32 if case in ("frozen", "guided") else 16
    image, text = ImageGraph(network, side), TextGraph(network)
    assert image.size == (side, side) and text.longest == 8
    given = pixels(3, side)
    torch.testing.assert_close(image(given), network.encode_image(network.image_features(given)), atol=1e-6, rtol=0)
    batch = tiny.batch(6)
    ids, mask = batch.text, batch.text_mask
    want = network.encode_text(*network.query.text.encoder.features(ids, mask))
    torch.testing.assert_close(text(ids, mask), want, atol=1e-6, rtol=0)
    torch.testing.assert_close(text(ids[:1], mask[:1]), want[:1], atol=1e-6, rtol=0)
    for parameter in network.parameters():
        parameter.add_(1)
    assert not torch.allclose(network.encode_text(*network.query.text.encoder.features(ids, mask)), text(ids, mask))


def test_a_backbone_of_another_size_is_given_its_own() -> None:
    network = tiny.model(image=VIT).eval()
    assert ImageGraph(network, 64).size == (32, 32)
