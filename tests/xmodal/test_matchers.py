"""Every host against slow loops over single pairs, and what must not change a score: padding, order, blocks."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from tests.xmodal import host_loops as loops
from tests.xmodal import tiny
from xmodal.matchers import Matcher, MatcherSettings
from xmodal.matchers.sides import Side
from xmodal.positions import GRID, OUTSIDE, block_overlaps, patch_boxes
from xmodal.relevance import attends
from xmodal.settings import SettingsError

WIDTH, LENGTHS = 10, torch.tensor([3, 1, 6, 4, 6])
IMAGES, REGIONS = 4, 9
SIZES = tiny.sizes(image_width=12, text_width=8)
KINDS: dict[str, dict[str, Any]] = {
    "scan t2i": {"kind": "scan"},
    "scan i2t": {"kind": "scan", "direction": "i2t", "aggregation": "logsumexp"},
    "bfan equal": {"kind": "bfan"},
    "bfan prob": {"kind": "bfan", "focal": "prob"},
    "pfan": {"kind": "pfan"},
    "sgr": {"kind": "sgraf", "similarity_width": 6},
    "saf": {"kind": "sgraf", "module": "saf", "similarity_width": 6},
}


def built(**settings: Any) -> Matcher:
    torch.manual_seed(1)
    made = TypeAdapter(MatcherSettings).validate_python({"width": WIDTH} | settings).build(SIZES, torch.nn.ModuleDict())
    assert isinstance(made, Matcher)
    for bias in (one for name, one in made.named_parameters() if name.endswith("bias")):
        torch.nn.init.normal_(bias, std=0.3)
    return made.double().eval()


def tokens(seed: int = 0, garbage: float = 7.0, extra: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Image tokens, text tokens with `garbage` in the padding, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(IMAGES, REGIONS, 12, generator=generator, dtype=torch.float64)
    text = torch.randn(len(LENGTHS), 6, 8, generator=generator, dtype=torch.float64)
    text = torch.nn.functional.pad(text, [0, 0, 0, extra])
    mask = torch.arange(6 + extra) < LENGTHS[:, None]
    return image, text.masked_fill(~mask[..., None], garbage), mask


def scores(host: Matcher, image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    return host.score_all_pairs(host.image_side(image), host.text_side(text, mask))


def pairs(host: Matcher) -> tuple[Tensor, list[np.ndarray], list[np.ndarray]]:
    """All scores, and the unpadded fragments of both sides for a loop."""
    image, text, mask = tokens()
    with torch.no_grad():
        found = scores(host, image, text, mask)
        regions, words = host.regions(image), host.words(text)
    return found, list(regions.numpy()), [row[: int(n)].numpy() for row, n in zip(words, LENGTHS, strict=True)]


def assert_loops(found: Tensor, slow: list[list[float]]) -> None:
    assert np.abs(found.detach().numpy() - np.array(slow)).max() < 1e-9


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
@pytest.mark.parametrize(
    ("aggregation", "norm"),
    [(how, "clipped_l2norm") for how in ("logsumexp", "mean", "max", "sum")]
    + [("mean", norm) for norm in ("l2norm", "softmax", "clipped", "no_norm", "l1norm", "clipped_l1norm")],
)
def test_scan_is_its_loop(direction: str, aggregation: str, norm: str) -> None:
    host = built(kind="scan", direction=direction, aggregation=aggregation, norm=norm)
    found, images, captions = pairs(host)
    sharpness, lse = (9.0, 6.0) if direction == "t2i" else (4.0, 5.0)
    slow = [[loops.scan(v, t, direction, aggregation, norm, sharpness, lse) for t in captions] for v in images]
    assert_loops(found, slow)


@pytest.mark.parametrize("focal", ["equal", "prob"])
def test_bfan_is_its_loop(focal: str) -> None:
    found, images, captions = pairs(built(kind="bfan", focal=focal))
    assert_loops(found, [[loops.bfan(v, t, focal) for t in captions] for v in images])


@pytest.mark.parametrize("focal", ["equal", "prob"])
def test_uniform_attention_and_one_word_keep_every_key(focal: str) -> None:
    host = built(kind="bfan", focal=focal)
    same = Side(torch.ones(1, 5, WIDTH, dtype=torch.float64), torch.ones(1, 5, dtype=torch.bool))
    one = Side(torch.ones(1, 3, WIDTH, dtype=torch.float64), torch.tensor([[True, False, False]]))
    for text in (same, one):
        for record in host.records(same, text, {}):
            valid = record.weight[record.query_mask]
            assert torch.allclose(valid, record.key_mask.double() / record.key_mask.sum(), atol=1e-12)
        assert host.score_all_pairs(same, text).item() == pytest.approx(2.0)


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
@pytest.mark.parametrize("faithful", [True, False])
def test_pfan_is_its_loop(direction: str, faithful: bool) -> None:
    host = built(kind="pfan", direction=direction, faithful=faithful, position_width=5)
    found, images, captions = pairs(host)
    assert_loops(found, [[loops.pfan(v, t, direction, faithful) for t in captions] for v in images])
    state = {name: one.detach().numpy() for name, one in host.state_dict().items()}
    image, ids, share = tokens()[0], *block_overlaps(patch_boxes(REGIONS).double())
    for row in range(REGIONS):
        v = image[0, row].numpy()
        table, a, b = state["position.weight"], state["gate.weight"], state["gate.bias"]
        p = loops.pfan_position(v, ids[row].numpy(), share[row].numpy(), table, a, b, faithful)
        region = loops.unit(loops.linear(np.concatenate([v, p]), state, "image"))
        assert np.abs(region - images[0][row]).max() < 1e-9


def test_blocks_of_a_region_are_those_it_overlaps_most() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1 / 16, 1 / 16], [0.0, 0.0, 1.0, 1.0], [0.5 / 16, 0.0, 1.25 / 16, 1 / 16]])
    ids, weights = block_overlaps(boxes)
    assert ids[0].tolist() == [0] + [OUTSIDE] * 14 and weights[0].tolist() == [1] + [0] * 14
    assert (ids[1] != OUTSIDE).all() and torch.allclose(weights[1], torch.full((15,), 1 / 15))
    assert ids[2, :2].tolist() == [0, 1] and torch.allclose(weights[2, :2], torch.tensor([2 / 3, 1 / 3]))
    assert torch.allclose(weights.sum(1), torch.ones(3))
    patch_ids, share = block_overlaps(patch_boxes(GRID * GRID))
    assert patch_ids[:, 0].tolist() == list(range(GRID * GRID)) and torch.allclose(share[:, 0], torch.ones(256))
    with pytest.raises(SettingsError, match="pfan: 37 regions are no square"):
        patch_boxes(37)


@pytest.mark.parametrize("module", ["sgr", "saf"])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_sgraf_is_its_loop(module: str, norm: str) -> None:
    host = built(kind="sgraf", module=module, similarity_width=6, norm=norm, regions=REGIONS)
    for name, statistic in host.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.nn.init.uniform_(statistic, 0.5, 1.5)
    found, images, captions = pairs(host)
    state = {name: one.detach().numpy() for name, one in host.state_dict().items()}
    assert_loops(found, [[loops.sgraf(v, t, state, 3 if module == "sgr" else 0) for t in captions] for v in images])


def test_statistics_of_saf_in_training_are_a_captions_own_over_real_nodes() -> None:
    """Mean and variance over the global node and the words of a caption, with all images, however wide it is padded."""
    host = built(kind="sgraf", module="saf", similarity_width=6, norm="batch", regions=REGIONS)
    _, images, captions = pairs(host)
    state = {name: one.detach().numpy().copy() for name, one in host.state_dict().items()}
    wanted, means = np.zeros((len(images), len(captions))), []
    for column, caption in enumerate(captions):
        nodes = np.concatenate([loops.sgraf_nodes(image, caption, state) for image in images])
        logits = [loops.linear(node, state, "vector.weigh")[0] for node in nodes]
        own = {"running_mean": np.array([np.mean(logits)]), "running_var": np.array([np.var(logits)])}
        own: dict[str, np.ndarray] = state | {f"vector.norm.{name}": value for name, value in own.items()}
        wanted[:, column] = [loops.sgraf(image, caption, own, 0) for image in images]
        means.append(np.mean(logits))
    cast(Any, host).vector.train()
    for extra in (0, 5):
        found = scores(host, *tokens(extra=extra))
        assert_loops(found, wanted.tolist())
        gradient = torch.autograd.grad(found.square().sum(), list(host.parameters()), allow_unused=True)
        assert all(one.isfinite().all() for one in gradient if one is not None)
    norm = cast(Any, host).vector.norm
    norm.reset_running_stats()
    scores(host, *tokens())
    assert norm.running_mean.item() == pytest.approx(0.1 * np.mean(means))


@pytest.mark.parametrize("module", ["sgr", "saf"])
@pytest.mark.parametrize("entries", [1, 60, 300, 1000])
def test_batch_norms_in_training_do_not_depend_on_the_blocks(module: str, entries: int) -> None:
    """Scores, gradients and statistics; blocks computed again in the backward count once."""
    found = []
    for budget in (2**26, entries):
        host = built(kind="sgraf", module=module, similarity_width=6, norm="batch", regions=REGIONS).train()
        host.max_entries = budget
        for step in range(2):
            host.zero_grad()
            image, text, mask = tokens(seed=step)
            made = scores(host, image, text, mask)
            made.square().sum().backward()
        gradients = [torch.zeros(()) if one.grad is None else one.grad for one in host.parameters()]
        found.append([made, *gradients, *(one.double() for name, one in host.named_buffers() if "vector" not in name)])
        found[-1] += [one for name, one in host.named_buffers() if name.startswith("vector") and "running" in name]
        assert {int(one) for name, one in host.named_buffers() if name.startswith("image") and "batches" in name} == {2}
    assert all(torch.allclose(one, two, atol=1e-9) for one, two in zip(*found, strict=True))


@pytest.mark.parametrize("kind", [*KINDS, "saf, batch"])
def test_a_wider_bucket_changes_no_score_in_training(kind: str) -> None:
    batch = {"kind": "sgraf", "module": "saf", "similarity_width": 6, "norm": "batch", "regions": REGIONS}
    host = built(**(KINDS | {"saf, batch": batch})[kind]).train()
    narrow, wide = (scores(host, *tokens(extra=extra)) for extra in (0, 5))
    assert torch.allclose(narrow, wide, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_regions_has_a_finite_score_and_changes_no_other(kind: str) -> None:
    """Nothing is attended to, so every cosine is 0; records have no fragment that counts."""
    host = built(**KINDS[kind])
    image, text, mask = tokens()
    regions = torch.ones(IMAGES, REGIONS, dtype=torch.bool).index_fill(0, torch.tensor([1]), False)
    bare = host.image_side(image, regions)
    found, whole = host.score_all_pairs(bare, host.text_side(text, mask)), scores(host, image, text, mask)
    assert found.isfinite().all() and torch.allclose(found[[0, 2, 3]], whole[[0, 2, 3]], atol=1e-12)
    if kind in MEANS:
        assert (found[1] == 0).all()
    found.sum().backward()
    assert all(one.grad is None or one.grad.isfinite().all() for one in host.parameters())
    for record in host.records(bare, host.text_side(text[:IMAGES], mask[:IMAGES]), {}):
        assert record.weight.isfinite().all() and not attends(record)[1].any() and attends(record)[0].any()


MEANS = ("scan t2i", "bfan equal", "bfan prob")
"""Hosts whose score is a mean of cosines and nothing else."""


@pytest.mark.parametrize("kind", KINDS)
def test_padding_blocks_and_order_change_no_score(kind: str) -> None:
    host = built(**KINDS[kind])
    image, text, mask = tokens()
    whole = scores(host, image, text, mask)
    assert torch.isfinite(whole).all() and whole.shape == (IMAGES, len(LENGTHS))
    others = [scores(host, *tokens(garbage=garbage, extra=extra)) for garbage, extra in ((-50.0, 0), (7.0, 5))]
    order = torch.tensor([2, 4, 0, 3, 1])
    others += [scores(host, image, text[order], mask[order])[:, torch.argsort(order)]]
    others += [torch.cat([scores(host, row[None], text, mask) for row in image])]
    others += [torch.cat([scores(host, image, text[n : n + 1], mask[n : n + 1]) for n in range(5)], dim=1)]
    for host.max_entries in (1, 60, 200):
        others.append(scores(host, image, text, mask))
    for other in others:
        assert torch.allclose(other, whole, atol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pfan"])
def test_the_order_of_the_keys_changes_no_score(kind: str) -> None:
    host, order = built(**KINDS[kind]), torch.randperm(REGIONS)
    image, text, mask = tokens()
    assert torch.allclose(scores(host, image[:, order], text, mask), scores(host, image, text, mask), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_masked_regions_are_as_if_absent(kind: str) -> None:
    host = built(**KINDS[kind])
    image, text, mask = tokens()
    vectors, words = host.regions(image), host.text_side(text, mask)
    kept = torch.arange(REGIONS) < 6
    padded = Side(torch.where(kept[:, None], vectors, torch.full_like(vectors, 7.0)), kept.expand(IMAGES, -1))
    short = Side(vectors[:, :6], torch.ones(IMAGES, 6, dtype=torch.bool))
    assert torch.allclose(host.score_all_pairs(padded, words), host.score_all_pairs(short, words), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_recomputed_in_the_backward_have_the_same_gradient(kind: str) -> None:
    gradients = []
    for entries in (2**26, 70):
        host = built(**KINDS[kind])
        host.max_entries = entries
        image, text, mask = tokens()
        weights = torch.randn(IMAGES, len(LENGTHS), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        (scores(host, image.requires_grad_(), text, mask) * weights).sum().backward()
        gradients.append([image.grad, *(one.grad for one in host.parameters())])
        assert all(torch.isfinite(one).all() for one in gradients[-1])
    assert all(torch.allclose(one, two, atol=1e-10) for one, two in zip(*gradients, strict=True))


@pytest.mark.parametrize("kind", ["scan t2i", "scan i2t", "pfan", "sgr", "saf"])
def test_gradients_are_central_differences(kind: str) -> None:
    host = built(**KINDS[kind])
    image, text, mask = tokens()
    assert torch.autograd.gradcheck(
        lambda one: scores(host, one, text[:2, :3], mask[:2, :3]), image[:1].clone().requires_grad_(), atol=1e-6
    )


def test_two_saturated_sgrafs_are_averaged_exactly() -> None:
    """The raw form of the mean of two sigmoids, in float32 too, where both sigmoids are 1."""
    host = built(kind="sgraf", similarity_width=6)
    one, two = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    mean = (one.sigmoid() + two.sigmoid()) / 2
    assert torch.allclose(host.averaged(one, two), mean.logit(), atol=1e-9)
    high, low = one.float() + 20, two.float() + 20
    exact = ((-high.double()).sigmoid() + (-low.double()).sigmoid()) / 2
    assert high.sigmoid().eq(1).sum() > 5 and torch.equal(host.squashed(one), one.sigmoid())
    assert torch.equal(host.averaged(high, low).flatten().argsort(), exact.flatten().argsort(descending=True))


def test_half_precision_is_scored_in_float32() -> None:
    host = built(kind="bfan").float()
    image, text, mask = tokens()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = scores(host, image.float(), text.float(), mask)
    assert found.dtype == torch.float32
    regions, words = (Side(side.to(torch.bfloat16), one) for side, one in (
        (host.regions(image.float()), torch.ones(IMAGES, REGIONS, dtype=torch.bool)),
        (host.words(text.float()), mask),
    ))  # fmt: skip
    assert regions.vectors.dtype == torch.float32 and host.score_all_pairs(regions, words).dtype == torch.float32


def test_empty_sides_and_fully_masked_rows_stay_finite() -> None:
    for settings in KINDS.values():
        host = built(**settings)
        image, text, mask = tokens()
        words = host.text_side(text, mask & (torch.arange(len(mask)) > 0)[:, None])
        vectors = host.regions(image).detach().requires_grad_()
        found = host.score_all_pairs(Side(vectors, torch.ones(IMAGES, REGIONS, dtype=torch.bool)), words)
        found.sum().backward()
        assert torch.isfinite(found).all()
        assert vectors.grad is not None and torch.isfinite(vectors.grad).all()
        assert host.score_all_pairs(host.image_side(image[:0]), words).shape == (0, len(LENGTHS))
        assert host.score_all_pairs(host.image_side(image), words.take(slice(0, 0))).shape == (IMAGES, 0)


def test_records_hold_the_weights_the_host_uses() -> None:
    host = built(kind="bfan")
    image, text, mask = tokens()
    both = host.image_side(image), host.text_side(text[:4], mask[:4])
    t2i, i2t = host.records(*both, {"t2i": torch.zeros(4, 6, dtype=torch.int64)})
    assert (t2i.direction, i2t.direction) == ("t2i", "i2t") and t2i.query_group is not None and i2t.query_group is None
    for row in range(4):
        v, t = (both[0].vectors[row].detach().numpy(), both[1].vectors[row, : int(LENGTHS[row])].detach().numpy())
        for record, queries, keys in ((t2i, t, v), (i2t, v, t)):
            n, m = len(queries), len(keys)
            assert (
                np.abs(
                    record.weight[row, :n, :m].detach().numpy() - loops.weights(queries, keys, 20.0, kind="equal")
                ).max()
                < 1e-9
            )
            assert np.abs(record.sim[row, :n, :m].detach().numpy() - queries @ keys.T).max() < 1e-12
            assert np.abs(record.gram[row, :m, :m].detach().numpy() - keys @ keys.T).max() < 1e-12
            assert (record.weight[row, :, m:] == 0).all() and record.query_mask[row].sum() == n


def test_words_as_they_are_need_the_hosts_width() -> None:
    with pytest.raises(SettingsError, match=r"matcher.width: 10; without project_text it is the text's, 8"):
        built(kind="scan", project_text=False)
    assert isinstance(built(kind="scan", project_text=False, width=8).text, torch.nn.Identity)
