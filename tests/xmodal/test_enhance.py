"""Enhancers: the identity at first, slow references of their formulas, and their place in the model."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.xmodal import tiny
from xmodal.enhance import Project, ResidualAttention, ResidualMask, ResidualMLP, SelfGuided, Transformer
from xmodal.enhance.gate import Gate
from xmodal.model import ModelSettings
from xmodal.settings import SettingsError, differences, dump_yaml, fingerprint, flatten, load, parse

W, HEADS = 8, 2
KINDS: dict[str, Any] = {
    "residual_attention": ResidualAttention(kind="residual_attention", layers=2, heads=HEADS),
    "residual_mask": ResidualMask(kind="residual_mask", layers=2, heads=HEADS),
    "residual_mlp": ResidualMLP(kind="residual_mlp", layers=2),
}
BOTH = {
    "image_enhance": [{"kind": "residual_attention", "heads": 2}],
    "text_enhance": [{"kind": "residual_mask", "heads": 2}, {"kind": "residual_mlp"}],
}


def opened(module: torch.nn.Module, value: float = 0.7) -> torch.nn.Module:
    """The same module with all gates at `value` and biases that are not 0."""
    for one in module.modules():
        if isinstance(one, Gate):
            torch.nn.init.constant_(one.logit, value)
        if isinstance(one, torch.nn.Linear):
            torch.nn.init.normal_(one.weight, std=0.5)
            torch.nn.init.normal_(one.bias, std=0.5)
    return module


def tokens(rows: int = 3, length: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(rows, length, W), torch.arange(length) < torch.tensor([[5], [2], [1]])[:rows]


def norm(x: np.ndarray, layer: torch.nn.LayerNorm) -> np.ndarray:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return scaled * numbers(layer.weight) + numbers(layer.bias)


def numbers(one: Tensor) -> np.ndarray:
    return one.detach().double().numpy()


def linear(x: np.ndarray, layer: Any) -> np.ndarray:
    return x @ numbers(layer.weight).T + numbers(layer.bias)


def attention(x: np.ndarray, mask: np.ndarray, layer: Any) -> np.ndarray:
    """Multi-head attention of one row's tokens (T, W) to its real ones, head by head and query by query."""
    query, both = linear(x, layer.query), linear(x, layer.key_value)
    key, value, size = both[:, :W], both[:, W:], W // HEADS
    mixed = np.zeros_like(x)
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        for place in range(len(x)):
            scores = np.array([query[place, own] @ key[other, own] / math.sqrt(size) for other in range(len(x))])
            weights = np.where(mask, np.exp(scores - scores[mask].max()), 0)
            mixed[place, own] = weights / weights.sum() @ value[:, own]
    return linear(mixed, layer.out)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attended(x: np.ndarray, mask: np.ndarray, layer: Any) -> np.ndarray:
    x = x + np.tanh(0.7) * attention(norm(x, layer.attend_norm), mask, layer.attend)
    inside = gelu(linear(norm(x, layer.feed_norm), layer.feed[0]))
    return x + np.tanh(0.7) * linear(inside, layer.feed[2])


def masked(x: np.ndarray, mask: np.ndarray, layer: Any) -> np.ndarray:
    return (1 + np.tanh(0.7) / (1 + np.exp(-attention(norm(x, layer.norm), mask, layer.attend)))) * x


def fed(x: np.ndarray, mask: np.ndarray, layer: Any) -> np.ndarray:
    return x + np.tanh(0.7) * linear(gelu(linear(norm(x, layer.norm), layer.feed[0])), layer.feed[2])


REFERENCES = {"residual_attention": attended, "residual_mask": masked, "residual_mlp": fed}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_identity_bit_for_bit_at_first(kind: str) -> None:
    x, mask = tokens()
    assert torch.equal(KINDS[kind].build(W)(x, mask), x)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_its_formula(kind: str) -> None:
    x, mask = tokens()
    built = opened(KINDS[kind].build(W))
    found = built(x, mask).detach().numpy()
    for row in range(len(x)):
        wanted = numbers(x[row])
        for layer in built.layers:  # pyright: ignore[reportGeneralTypeIssues]
            wanted = REFERENCES[kind](wanted, mask[row].numpy(), layer)
        assert np.abs(found[row] - wanted)[mask[row].numpy()].max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_real_token(kind: str) -> None:
    x, mask = tokens()
    built = opened(KINDS[kind].build(W))
    other = torch.where(mask[..., None], x, torch.full_like(x, 50.0))
    assert torch.allclose(built(x, mask)[mask], built(other, mask)[mask], atol=1e-5)


def test_a_transformer_is_its_blocks_and_a_norm() -> None:
    """From step 0 on: it is no identity; what stands at masked places changes nothing."""
    x, mask = tokens()
    built = opened(Transformer(kind="transformer", layers=2, heads=HEADS).build(W))
    found = built(x, mask).detach().numpy()
    for row in range(len(x)):
        wanted = numbers(x[row])
        for block in built.blocks:  # pyright: ignore[reportGeneralTypeIssues]
            wanted = wanted + attention(norm(wanted, block.attend_norm), mask[row].numpy(), block.attend)
            wanted = wanted + linear(gelu(linear(norm(wanted, block.feed_norm), block.feed[0])), block.feed[2])
        wanted = norm(wanted, built.norm)  # pyright: ignore[reportArgumentType]
        assert np.abs(found[row] - wanted)[mask[row].numpy()].max() < 1e-4
    other = torch.where(mask[..., None], x, torch.full_like(x, 50.0))
    assert torch.allclose(built(x, mask)[mask], built(other, mask)[mask], atol=1e-5)
    with pytest.raises(SettingsError, match="heads 3 do not divide the width 8"):
        Transformer(kind="transformer", heads=3).build(W)


def test_the_control_is_of_equal_size() -> None:
    def matrices(settings: Any) -> int:
        return sum(one.numel() for one in settings.build(W).parameters() if one.ndim == 2)

    assert matrices(KINDS["residual_attention"]) == matrices(KINDS["residual_mlp"]) == 2 * 12 * W * W


def test_the_control_of_sge_is_of_equal_size() -> None:
    """Two matrices of W^2 each; biases, norms and scoring vectors are a few W beside them."""

    def numbers_of(settings: Any, squares: bool) -> int:
        return sum(one.numel() for one in settings.build(64).parameters() if not squares or one.numel() == 64 * 64)

    sge, control = SelfGuided(kind="self_guided"), ResidualMLP(kind="residual_mlp", wider=1)
    assert numbers_of(sge, True) == numbers_of(control, True) == 2 * 64 * 64
    assert numbers_of(control, False) == pytest.approx(numbers_of(sge, False), rel=0.03)
    assert differences(ResidualMLP(kind="residual_mlp")) == differences(ResidualMLP(kind="residual_mlp", wider=6))
    x = torch.randn(2, 3, 64)
    assert torch.equal(control.build(64)(x, torch.ones(2, 3, dtype=torch.bool)), x)


def test_a_model_with_enhancers_starts_as_the_one_without() -> None:
    given = tiny.batch(4)
    plain, more = tiny.model(tasks=tiny.ALL_TASKS), tiny.model(tasks=tiny.ALL_TASKS, **BOTH)
    assert all(torch.equal(one, more.state_dict()[name]) for name, one in plain.state_dict().items())
    first, second = plain(given), more(given)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_enhancers_nothing_is_built() -> None:
    assert not any("enhance" in name for name in tiny.model().state_dict())
    assert fingerprint({"model": ModelSettings()}) == fingerprint({"model": parse(ModelSettings, {"text_enhance": []})})


def test_head_matching_and_captions_see_the_enhanced_tokens() -> None:
    given = tiny.batch(4)
    built = tiny.model(tasks=tiny.ALL_TASKS, **BOTH)
    seen = tiny.encodings(built, given)
    before = {name: loss.item() for name, loss in built(given).items()} | {"image": seen.image, "text": seen.text}
    opened(built.query.image.enhancers)
    opened(built.query.text.enhancers)
    after = built(given)
    assert all(abs(after[name].item() - before[name]) > 1e-4 for name in after)
    changed = tiny.encodings(built, given)
    assert not torch.allclose(changed.image, before["image"]) and not torch.allclose(changed.text, before["text"])


def test_the_key_encoder_has_their_average() -> None:
    built = tiny.model(momentum={"coefficient": 0.5}, **BOTH)
    optimizer = torch.optim.SGD(built.parameters(), 1.0)
    for step in range(3):
        tiny.step(built, optimizer, tiny.batch(4, step=step))
    ours, theirs = built.query.image.enhancers, built.key.encoder.image.enhancers
    for one, mean in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert not mean.requires_grad and mean.shape == one.shape
    gate = built.query.enhancer_metrics()["enhance/image/0/layers/0/attend_gate"]
    assert gate != 0 and built.key.encoder.enhancer_metrics()["enhance/image/0/layers/0/attend_gate"] not in (0, gate)


def test_the_gates_are_logged() -> None:
    built = tiny.model(**BOTH)
    opened(built.query.text.enhancers)
    told = tiny.told(built, 0)
    assert told["enhance/image/0/layers/0/feed_gate"] == 0
    assert told["enhance/text/0/layers/0/gate"] == told["enhance/text/1/layers/0/gate"] == pytest.approx(math.tanh(0.7))


def test_the_captioner_trains_the_shared_attention() -> None:
    built = tiny.model(tasks={"itc": None, "lm": {"decoder": tiny.FUSION}}, **BOTH)
    opened(built.query.image.enhancers)
    built(tiny.batch(4))["lm"].backward()
    found = {name: one.grad for name, one in built.query.image.enhancers.named_parameters()}
    assert all(one is not None and one.isfinite().all() for one in found.values())
    assert all(one is not None and one.any() for name, one in found.items() if "gate" in name or "feed" in name)


def test_recipes_name_them_in_order() -> None:
    settings = load(
        ModelSettings,
        ["image_enhance=[{kind: residual_attention, heads: 2}, {kind: residual_mlp}]", "image_enhance.0.layers=3"],
    )
    assert [one.kind for one in settings.image_enhance] == ["residual_attention", "residual_mlp"]
    assert parse(ModelSettings, differences(settings)) == settings and "layers: 3" in dump_yaml(settings)
    assert flatten(settings)["image_enhance.0.layers"] == 3 and flatten(settings)["text_enhance"] == []
    other = settings.model_copy(update={"image_enhance": settings.image_enhance[::-1]})
    assert fingerprint({"model": settings}) != fingerprint({"model": other})


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("image_enhance=[{kind: residual_atention}]", "did you mean residual_attention"),
        ("image_enhance=[{kind: residual_attention, layer: 2}]", r"image_enhance\.0\.layer: no such setting; did you"),
        ("image_enhance=[{kind: residual_attention, layers: 0}]", r"image_enhance\.0\.layers: input should be greater"),
        ("image_enhance=[{layers: 2}]", r"image_enhance\.0\.kind: this setting is required"),
        ("image_enhance={kind: residual_mlp}", "image_enhance: input should be a valid tuple"),
    ],
)
def test_a_mistake_is_one_line(argument: str, line: str) -> None:
    with pytest.raises(SettingsError, match=line) as raised:
        load(ModelSettings, [argument])
    assert "\n" not in str(raised.value)


def test_heads_that_do_not_divide_the_width_are_named() -> None:
    with pytest.raises(SettingsError, match="heads 3 do not divide the width 8"):
        tiny.model(text_enhance=[{"kind": "residual_mask", "heads": 3}])


def test_a_projection_is_a_norm_and_a_matrix_token_by_token() -> None:
    x, mask = tokens()
    module = opened(Project(kind="project", width=3).build(W))
    found = module(x, mask).detach()
    wanted = linear(norm(numbers(x), module.norm), module.fc)  # pyright: ignore
    assert found.shape == (3, 5, 3)
    np.testing.assert_allclose(numbers(found), wanted, atol=1e-5)


def test_what_comes_after_a_projection_has_its_width() -> None:
    """Later enhancers, head, fusion encoder, captioner and host; key encoders too."""
    narrow = [{"kind": "project", "width": 6}, {"kind": "residual_mlp"}]
    tasks = {"itm": {}, "lm": {}, "triplet": {}}
    model = tiny.model(image_enhance=narrow, tasks=tasks, matcher={"kind": "scan", "width": 5})
    batch = tiny.batch(6)
    losses = model(batch)
    assert all(loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    matrix = model.query.image.enhancers.get_parameter("0.fc.weight")
    assert matrix.shape[0] == 6 and matrix.grad is not None and matrix.grad.abs().sum() > 0
    assert model.query.image(batch.image).shape[2] == model.key.encoder.image(batch.image).shape[2] == 6
    assert model.query.image.width == 6 and model.query.text.width == model.query.text.encoder.width
