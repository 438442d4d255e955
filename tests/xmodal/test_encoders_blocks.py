"""Transformer blocks: a written-out attention, padding, built-in encoders."""

import copy

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from xmodal.encoders import ImageEncoderSettings, TextEncoderSettings
from xmodal.encoders.blocks import Attention, Block, causal_bias, key_bias, no_bias
from xmodal.encoders.transformer import Transformer, TransformerEncoder
from xmodal.encoders.vit import ViT
from xmodal.settings import Settings, SettingsError, parse
from xmodal.wordpiece import PAD, WordPiece


@pytest.fixture(scope="module")
def wordpiece() -> WordPiece:
    return WordPiece.train(["a red fox crosses the road", "two bears stand by the river at night"] * 2, 120)


@pytest.fixture
def text(wordpiece: WordPiece) -> TransformerEncoder:
    torch.manual_seed(0)
    return Transformer(kind="transformer", width=16, heads=2, length=24).build(wordpiece)


def attention_by_hand(layer: Attention, x: np.ndarray, context: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """softmax(q k / sqrt(d)) v head by head, position by position, in float64."""
    weights = {name: value.detach().double().numpy() for name, value in layer.named_parameters()}
    query = x @ weights["query.weight"].T + weights["query.bias"]
    key, value = np.split(context @ weights["key_value.weight"].T + weights["key_value.bias"], 2, axis=-1)
    out, size = np.zeros_like(query), query.shape[1] // layer.heads
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            scores = np.array(
                [query[i, part] @ key[j, part] / np.sqrt(size) for j in range(len(context)) if seen[i, j]]
            )
            shares = np.exp(scores) / np.exp(scores).sum()
            out[i, part] = shares @ value[seen[i]][:, part]
    return out @ weights["out.weight"].T + weights["out.bias"]


@pytest.mark.parametrize("kind", ["all", "keys", "causal"])
def test_attention_is_the_formula(kind: str):
    torch.manual_seed(1)
    layer, x = Attention(8, 6, 2, 0.0), torch.randn(1, 5, 8)
    context = torch.randn(1, 5, 6)
    mask = torch.tensor([[True, True, True, False, False]])
    bias = {"all": no_bias(x), "keys": key_bias(mask, x), "causal": causal_bias(5, x)}[kind]
    seen = {"all": np.ones((5, 5), bool), "keys": mask.expand(5, 5).numpy(), "causal": np.tri(5, dtype=bool)}[kind]
    want = attention_by_hand(layer, x[0].double().numpy(), context[0].double().numpy(), seen)
    assert layer(x, context, bias)[0].detach().numpy() == pytest.approx(want, abs=1e-6)


def test_a_row_without_valid_keys_is_finite_with_its_gradient():
    block, x = Block(8, 2, 0.0), torch.randn(2, 3, 8, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    out = block(x, key_bias(mask, x))
    out.sum().backward()
    assert out.isfinite().all() and x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masks_hold_in_half_precision(dtype: torch.dtype):
    block, x = Block(8, 2, 0.0), torch.randn(2, 3, 8)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    with torch.autocast("cpu", dtype=dtype):
        out, filled = (block(tokens, key_bias(mask, x)) for tokens in (x, x.masked_fill(~mask[..., None], 7.0)))
    assert out.isfinite().all() and torch.equal(out[mask], filled[mask])


def test_padding_changes_no_valid_token(text: TransformerEncoder):
    ids, mask = text.tokenize(["a red fox crosses the road at night", "two bears"])
    alone, alone_mask = text.tokenize(["two bears"])
    garbage = ids.masked_fill(~mask, 7)
    wide = nn.functional.pad(garbage, (0, 3), value=7), nn.functional.pad(mask, (0, 3))
    want = text(alone, alone_mask)[0]
    for got in (text(ids, mask), text(garbage, mask), text(*wide)):
        assert torch.allclose(got[1, : len(want)], want, atol=1e-6)
    assert torch.equal(text(ids, mask)[mask], text(garbage, mask)[mask])


def test_garbage_in_padded_tokens_changes_nothing():
    torch.manual_seed(0)
    block, x = Block(8, 2, 0.0), torch.randn(2, 5, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    filled = x.masked_fill(~mask[..., None], 7.0)
    bias = key_bias(mask, x)
    assert torch.equal(block(x, bias)[mask], block(filled, bias)[mask])


def test_text_encoder_interface(text: TransformerEncoder, wordpiece: WordPiece):
    ids, mask = text.tokenize(["a fox", "", "the road " * 40])
    assert ids.shape == (3, 24) and text.features(ids, mask) == (ids, mask)
    tokens = text(ids, mask)
    assert tokens.shape == (3, 24, text.width) and tokens.isfinite().all()
    assert torch.equal(text.settings.build_tokenizer(wordpiece)(["a fox"])[0], text.tokenize(["a fox"])[0])
    with pytest.raises(ValueError, match="length: this encoder takes 24 tokens, this text has 25"):
        text(torch.zeros(1, 25, dtype=torch.int64), torch.ones(1, 25, dtype=torch.bool))


def test_text_encoder_tells_order(text: TransformerEncoder):
    ids, mask = text.tokenize(["fox red", "red fox"])
    assert not torch.allclose(text(ids, mask)[0].mean(0), text(ids, mask)[1].mean(0), atol=1e-5)
    assert (ids != PAD).all()


def vit(**settings: object) -> nn.Module:
    torch.manual_seed(0)
    return ViT.model_validate({"kind": "vit", "image_size": 48, "width": 16, "heads": 2, **settings}).build()


def pixels(count: int, side: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_vit_interface():
    encoder = vit()
    images = pixels(2, 48)
    tokens = encoder(encoder.features(images))  # pyright: ignore[reportCallIssue]
    assert tokens.shape == (2, 9, 16) and encoder.width == 16
    assert encoder.features(images) is images  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="built for 48 x 48 pixels, these images are 64 x 64"):
        encoder(pixels(1, 64))


def test_vit_images_do_not_touch_each_other():
    encoder, images = vit(), pixels(5, 48)
    whole = encoder(images)
    assert torch.allclose(torch.cat([encoder(images[:2]), encoder(images[2:])]), whole, atol=1e-6)
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in encoder.modules())


def test_vit_gives_every_parameter_a_gradient():
    encoder = vit()
    encoder(pixels(2, 48)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_vit_learns_shapes_from_few_images():
    """Bars against blobs of the same mean grey, 48 images, 25 steps: above 90 % on the images it saw."""
    torch.manual_seed(0)
    encoder, head = vit(depth=1), nn.Linear(16, 2)
    images = torch.full((48, 3, 48, 48), 90, dtype=torch.uint8)
    labels, places = torch.arange(48) % 2, torch.randint(0, 24, (48, 2))
    for image, label, (y, x) in zip(images, labels.tolist(), places.tolist(), strict=True):
        high, wide = ((6, 24), (12, 12))[label]
        image[:, y : y + high, x : x + wide] = 200
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(encoder(images).mean(1)), labels).backward()
        optimizer.step()
    assert (head(encoder(images).mean(1)).argmax(1) == labels).float().mean() > 0.9


def test_copies_and_identities(text: TransformerEncoder):
    ids, mask = text.tokenize(["a red fox"])
    assert torch.equal(copy.deepcopy(text)(ids, mask), text(ids, mask))
    identities = {vit().identity(), vit(depth=3).identity(), text.identity()}  # pyright: ignore[reportCallIssue]
    assert len(identities) == 3 and all(len(identity) == 16 for identity in identities)


def test_settings_mistakes_are_one_line():
    class Model(Settings):
        image: ImageEncoderSettings
        text: TextEncoderSettings

    good = {"image": {"kind": "vit"}, "text": {"kind": "transformer"}}
    built = parse(Model, good)
    assert not built.image.frozen and not built.text.frozen
    for side, wrong, said in [
        ("image", {"kind": "vot"}, "image.kind: 'vot' is no known kind"),
        ("image", {"kind": "vit", "heads": 3}, "heads 3 do not divide the width 128"),
        ("image", {"kind": "vit", "image_size": 100}, "multiple of 16"),
        ("image", {"kind": "hugging_face"}, "give either path or config"),
        ("text", {"kind": "transformer", "lenght": 3}, "text.lenght: no such setting; did you mean text.length?"),
        ("text", {"kind": "hugging_face", "path": "x", "frozen": False, "pool": "mean"}, "pool mean"),
    ]:
        with pytest.raises(SettingsError) as caught:
            parse(Model, {**good, side: wrong})
        assert said in str(caught.value) and "\n" not in str(caught.value)
    assert TypeAdapter(ImageEncoderSettings).validate_python({"kind": "efficientnet_lite"}).frozen
