"""SGE and CGE against numpy, in the released form and in ours, and the guide's way to them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.xmodal import tiny
from tests.xmodal.test_enhance import linear, numbers
from xmodal.enhance import ClipGuided, SelfGuided
from xmodal.enhance.clip_guided import ClipGuidedEnhancer
from xmodal.enhance.self_guided import SelfGuidedEnhancer
from xmodal.settings import SettingsError

W = 6
VIT = {"model_type": "vit", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
TOKENS = {"kind": "hugging_face", "config": VIT | {"image_size": 32, "patch_size": 16}}
GUIDED = {"kind": "guided", "tokens": TOKENS, "guide": TOKENS, "guide_width": 8}
CGE = {"kind": "clip_guided", "guide_width": 8}


def soft(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max())
    return raised / raised.sum()


def region_attention(rows: np.ndarray, guide: np.ndarray, sharpness: float) -> np.ndarray:
    """The released `region_attention`: softmax over regions, l2 norm of the weights, residual."""
    weights = soft(np.array([sharpness * (guide @ row) for row in rows]))
    weights = weights / (np.sqrt((weights**2).sum()) + 1e-8)
    return np.stack([row + weight * guide for row, weight in zip(rows, weights, strict=True)])


def standardised(x: np.ndarray, axes: tuple[int, ...], eps: float = 1e-5) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def images(rows: int = 3, regions: int = 4) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(rows, regions, W)


def reference(module: SelfGuidedEnhancer, tokens: np.ndarray, batch: bool, sharpness: float) -> np.ndarray:
    """SGE of (B, R, W) images without padding, batch norms in training (weights 1, biases 0) or layer norms."""
    local_linear, whole_linear = module.local[0], module.whole[0]
    local = standardised(linear(tokens, local_linear), (0, 2) if batch else (2,))
    whole = standardised(linear(tokens.mean(1), whole_linear), (0,) if batch else (1,))
    found = []
    for image, own, seen in zip(tokens, np.tanh(local), np.tanh(whole), strict=True):
        attention = soft(linear(own * seen, module.score)[:, 0])
        guide = np.sum([a * region for a, region in zip(attention, image, strict=True)], axis=0)
        found.append(region_attention(image, guide / np.linalg.norm(guide), sharpness))
    return np.stack(found)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_sge_is_the_formula(norm: Any) -> None:
    tokens = images()
    module = SelfGuided(kind="self_guided", norm=norm, regions=4, sharpness=2.0).build(W).train()
    found = module(tokens, torch.ones(3, 4, dtype=torch.bool))
    wanted = reference(module, tokens.double().numpy(), norm == "batch", 2.0)
    assert np.abs(numbers(found) - wanted).max() < 1e-5


def test_sge_takes_any_number_of_tokens_and_ignores_padding() -> None:
    module = SelfGuided(kind="self_guided").build(W).eval()
    tokens, mask = images(), torch.arange(4) < torch.tensor([[4], [2], [0]])
    found = module(tokens.masked_fill(~mask[..., None], 9.0), mask)
    torch.testing.assert_close(found[1, :2], module(tokens[1:2, :2], torch.ones(1, 2, dtype=torch.bool))[0])
    assert found.isfinite().all(), "an image without regions"
    found[:2].sum().backward()
    assert all(one.grad is None or one.grad.isfinite().all() for one in module.parameters())


def test_cge_moves_regions_towards_the_guide_and_takes_it_off() -> None:
    module = ClipGuided(kind="clip_guided", guide_width=4).build(W)
    tokens = images(3, 5)
    found = module(tokens, torch.ones(3, 5, dtype=torch.bool))
    assert found.shape == (3, 4, W)
    for row in range(3):
        guide = linear_without_bias(tokens[row, -1, :4].double().numpy(), module.raised)
        wanted = region_attention(tokens[row, :-1].double().numpy(), guide / np.linalg.norm(guide), 1.0)
        assert np.abs(numbers(found[row]) - wanted).max() < 1e-5


def linear_without_bias(x: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return x @ numbers(layer.weight).T


def test_a_guided_encoder_gives_its_guide_as_the_last_token_and_a_model_uses_it() -> None:
    changes: dict[str, Any] = {
        "image": GUIDED,
        "image_enhance": [CGE, {"kind": "self_guided"}],
        "pooling": {"kind": "gpo"},
    }
    built = tiny.model(**changes)
    encoder = built.query.image.encoder
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    features = encoder.features(pixels)
    assert features.shape == (3, 5 + 1, 8), "a class token, four patches, the guide"
    torch.testing.assert_close(features[:, -1], encoder.guide.features(pixels).mean(1))
    assert built.query.image(features).shape == (3, 5, 8)
    optimizer = torch.optim.SGD(built.parameters(), 0.1)
    first = built.query.image.enhancers[0]
    assert isinstance(first, ClipGuidedEnhancer)
    before = first.raised.weight.clone()
    for step in range(2):
        tiny.step(built, optimizer, tiny.batch(3, step=step, image=features))
    assert not torch.equal(before, first.raised.weight)
    assert built.encode_image(features).shape == (3, 8)
    assert not any("backbone" in name for name in built.state_dict())


def test_batch_norms_as_released_train_and_the_key_encoder_gets_their_statistics() -> None:
    enhance = [{"kind": "self_guided", "norm": "batch", "regions": 5, "dropout": 0.4}]
    head = {"kind": "tokenwise", "hidden": 4, "norm": "batch"}
    built = tiny.model(image=TOKENS, image_enhance=enhance, head=head, text_head={"kind": "linear"})
    optimizer = torch.optim.SGD(built.parameters(), 0.1)
    for step in range(2):
        tiny.step(built, optimizer, tiny.batch(4, step=step, image=torch.randn(4, 5, 8)))
    sides = zip(built.query.named_buffers(), built.key.encoder.named_buffers(), strict=True)
    assert all(torch.equal(one, other) for (_, one), (_, other) in sides)
    assert any(name.endswith("num_batches_tracked") and one == 2 for name, one in built.query.named_buffers())


def test_the_identity_of_a_guided_encoder_is_that_of_both() -> None:
    one = tiny.settings(image=GUIDED, image_enhance=[CGE]).image
    other = tiny.settings(image=GUIDED | {"guide": TOKENS | {"pool": "mean"}}, image_enhance=[CGE]).image
    assert one.build().identity() == one.build().identity() != other.build().identity()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image": GUIDED}, "clip_guided must stand first"),
        ({"image_enhance": [CGE]}, "clip_guided must stand first"),
        ({"image": GUIDED, "image_enhance": [{"kind": "self_guided"}, CGE]}, "clip_guided must stand first"),
        ({"image": GUIDED, "image_enhance": [CGE, CGE]}, "clip_guided must stand first"),
        ({"image": GUIDED, "image_enhance": [CGE], "text_enhance": [CGE]}, "clip_guided must stand first"),
        ({"image": GUIDED, "image_enhance": [CGE | {"guide_width": 4}]}, "a guide of 8 numbers"),
        ({"image": GUIDED | {"guide": TOKENS | {"frozen": False}}, "image_enhance": [CGE]}, "must be frozen"),
        ({"image": {"kind": "precomputed", "width": 8, "guide_width": 9}}, "does not fit into a token of 8"),
    ],
)
def test_a_guide_without_its_enhancer_is_refused_in_one_line(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text) as raised:
        tiny.settings(**changes)
    assert "\n" not in str(raised.value)


def test_a_guide_of_another_width_is_refused_when_it_is_built() -> None:
    wrong = GUIDED | {"guide_width": 7}
    with pytest.raises(SettingsError, match="the guide has 8 numbers, stated are 7"):
        tiny.settings(image=wrong, image_enhance=[CGE | {"guide_width": 7}]).image.build()


def test_precomputed_features_cannot_be_made_of_pixels() -> None:
    encoder = tiny.settings(image={"kind": "precomputed", "regions": 4, "width": 8}).image.build()
    with pytest.raises(SettingsError, match="cannot be made of pixels"):
        encoder.features(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    features = torch.randn(2, 4, 8)
    assert torch.equal(encoder.forward(features), features)
