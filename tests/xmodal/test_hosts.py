"""The triplet task and the constraint tasks on the hosts of a model."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.xmodal import tiny
from xmodal.batch import Batch
from xmodal.fusion import FusionEncoder
from xmodal.matchers import Matcher
from xmodal.matchers.fusion import FusionHost
from xmodal.matchers.pfan import Pfan
from xmodal.matchers.sides import l2norm
from xmodal.model import CrossModalModel
from xmodal.positions import OUTSIDE
from xmodal.settings import SettingsError

SCAN = {"kind": "scan", "width": 8}
BFAN = {"kind": "bfan", "width": 8}
ITM = {"itm": {"fusion": {"width": 8, "depth": 3, "heads": 2}}}
HOSTS: dict[str, dict[str, Any]] = {
    "scan": {"matcher": SCAN, "tasks": {"itc": None, "triplet": {}}},
    "bfan": {"matcher": BFAN, "tasks": {"itc": None, "triplet": {}}},
    "pfan": {"matcher": {"kind": "pfan", "width": 8}, "tasks": {"itc": None, "triplet": {}}},
    "sgraf": {"matcher": {"kind": "sgraf", "width": 8}, "tasks": {"itc": None, "triplet": {}}},
    "fusion": {"matcher": {"kind": "fusion"}, "tasks": {"itc": {}} | ITM},
}
CONSTRAINTS: dict[str, dict[str, Any]] = {"ccr": {}, "ccs": {}, "entropy": {}}


def model(**settings: Any) -> CrossModalModel:
    return tiny.model(**tiny.FOUR_REGIONS | settings)


def batch(rows: int, **changes: Any) -> Batch:
    return tiny.batch(rows, side=32, **changes)


def gradients(built: CrossModalModel, given: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses, and the gradient of their weighted sum by parameter."""
    losses = built(given)
    torch.stack([built.weights[name] * loss for name, loss in losses.items()]).sum().backward()
    return losses, {name: one.grad for name, one in built.named_parameters() if one.grad is not None}


def slow_triplet(scores: Tensor, allowed: np.ndarray, valid: np.ndarray, mining: str) -> Tensor:
    """Sum over valid rows; `allowed` [image, caption] are negatives of both directions."""
    total = scores.new_zeros(())
    for i in np.flatnonzero(valid):
        texts = [max(0.0, 0.2 + scores[i, j] - scores[i, i]) for j in range(len(scores)) if allowed[i, j]]
        images = [max(0.0, 0.2 + scores[j, i] - scores[i, i]) for j in range(len(scores)) if allowed[j, i]]
        total += sum((max if mining == "hardest" else sum)(costs) for costs in (texts, images) if costs)
    return total


@pytest.mark.parametrize("mining", ["hardest", "all"])
@pytest.mark.parametrize("policy", ["mask", "none"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_triplet_is_its_loop(mining: str, policy: str, reduction: str) -> None:
    tasks = {"itc": None, "triplet": {"mining": mining, "fn_policy": policy}}
    built = model(tasks=tasks, matcher=SCAN | {"reduction": reduction})
    codes = torch.tensor([1, 1, 2, 3, 4])[:, None].expand(-1, tiny.ATTRIBUTES).int()
    valid = torch.tensor([True, True, True, True, False])
    given = batch(5, image_codes=codes, text_codes=codes, valid=valid)
    seen = tiny.encodings(built, given)
    scores = seen.hosted.scores.texts.detach().double().requires_grad_()
    allowed = ~np.eye(5, dtype=bool) & valid.numpy()[None] & valid.numpy()[:, None]
    if policy == "mask":
        allowed[0, 1] = allowed[1, 0] = False
    wanted = slow_triplet(scores, allowed, valid.numpy(), mining) / (4 if reduction == "mean" else 1)
    found = built.tasks["triplet"](seen)
    assert found.item() == built(given)["triplet"].item() == pytest.approx(wanted.item(), rel=2e-5)
    (slopes,) = torch.autograd.grad(wanted, scores)
    (of_both,) = torch.autograd.grad(found, seen.hosted.scores.images)  # what the texts' scores are a view of
    torch.testing.assert_close(of_both.T, slopes.float(), atol=1e-6, rtol=0)
    assert slopes.abs().sum() > 0


def test_both_halves_of_the_scores_are_those_of_all_pairs_in_global_order() -> None:
    built, given = model(**HOSTS["scan"]), batch(4)
    order = torch.tensor([2, 0, 3, 1])
    whole = tiny.encodings(built, given).hosted.scores
    part = tiny.encodings(built, tiny.rows_of(given, order)).hosted.scores
    assert torch.allclose(whole.texts, whole.images.T, atol=1e-6)
    assert torch.allclose(part.texts, whole.texts[order], atol=1e-6)
    assert torch.allclose(part.images, whole.images[order], atol=1e-6)


@pytest.mark.parametrize("host", HOSTS)
def test_without_the_constraints_the_model_is_bitwise_the_host(host: str) -> None:
    settings, given = HOSTS[host], batch(5)
    off = {name: {"weight": 0} for name in CONSTRAINTS}
    plain, plain_gradients = gradients(model(**settings), given)
    none, none_gradients = gradients(model(**settings | {"tasks": settings["tasks"] | off}), given)
    assert plain.keys() == none.keys() and all(torch.equal(plain[name], none[name]) for name in plain)
    assert plain_gradients.keys() == none_gradients.keys()
    assert all(torch.equal(plain_gradients[name], none_gradients[name]) for name in plain_gradients)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("source", ["intra", "inter"])
@pytest.mark.parametrize("mining", ["hardest", "random"])
def test_constraints_work_on_every_host_and_change_no_other_loss(host: str, source: str, mining: str) -> None:
    settings, given = HOSTS[host], batch(5)
    on: dict[str, Any] = CONSTRAINTS | {"ccs": {"source": source, "mining": mining, "swap": "both"}}
    plain = model(**settings)(given)
    losses, found = gradients(model(**settings | {"tasks": settings["tasks"] | on}), given)
    assert all(torch.equal(plain[name], losses[name]) for name in plain)
    assert all(losses[name] > 0 for name in on) and losses["ccr"] <= 5 * 2.2 * 2
    assert all(torch.isfinite(one).all() for one in found.values())


def figures_of(found: list[tuple[float, float, float]], name: str) -> float:
    column = {"active": [float(loss > 0) for loss, _, _ in found], "r_pos": [one[1] for one in found]}
    return float(np.mean((column | {"r_neg": [one[2] for one in found]})[name]))


@pytest.mark.parametrize("host", ["scan", "bfan", "fusion"])
def test_what_the_constraints_tell_is_their_loop(host: str) -> None:
    """Means over the fragments of the valid pairs."""
    settings = HOSTS[host]
    built = model(**settings | {"tasks": settings["tasks"] | {"ccr": {}, "ccs": {}}})
    given = batch(4, valid=torch.tensor([True, True, False, True]))
    built(given)
    records = tiny.encodings(built, given).hosted.records
    ccr, ccs, spread = [], [], []
    for record in records:
        sim, weight, gram = (one.detach().double().numpy() for one in (record.sim, record.weight, record.gram))
        norm, keys = record.query_norm.detach().double().numpy(), record.key_mask.numpy()
        for pair, i in np.ndindex(*record.query_mask.shape):
            words = np.flatnonzero(record.query_mask[pair].numpy())
            if pair == 2 or i not in words:
                continue

            def r(w: np.ndarray, pair: int = pair, i: int = i, parts: Any = (sim, gram, norm)) -> float:
                return float(w @ parts[0][pair, i] / parts[2][pair, i] / np.sqrt(w @ parts[1][pair] @ w))

            w, m = weight[pair, i], keys[pair].sum()
            back = np.where(keys[pair], (1 - w) / (m - 1), 0)
            ccr.append((max(0.0, 0.2 - r(w) + r(back)), r(w), r(back)))
            spread.append(-sum(one * np.log(one) for one in w[keys[pair]] if one > 0) / np.log(m))
            others = [r(weight[pair, j]) for j in words if j != i and _may_swap(record.query_group, pair, i, int(j))]
            if others:
                ccs.append((max(0.0, 0.2 - r(w) + max(others)), r(w), max(others)))
    for name in ("active", "r_pos", "r_neg"):
        assert built.figures[f"ccr/{name}"].item() == pytest.approx(figures_of(ccr, name), abs=1e-4)
        assert built.figures[f"ccs/{name}"].item() == pytest.approx(figures_of(ccs, name), abs=1e-4)
    assert built.figures["ccr/entropy"].item() == pytest.approx(float(np.mean(spread)), abs=1e-4)


def _may_swap(groups: Tensor | None, pair: int, i: int, j: int) -> bool:
    return groups is None or (int(groups[pair, j]) >= 0 and int(groups[pair, i]) != int(groups[pair, j]))


@pytest.mark.parametrize("enhance", [[], [{"kind": "project", "width": 6}]])
def test_constraints_on_the_fusion_encoder_are_float32_under_autocast(enhance: list[dict[str, Any]]) -> None:
    """Heads, dots and weights of tokens in half precision."""
    settings: dict[str, Any] = HOSTS["fusion"] | {"image_enhance": enhance, "text_enhance": enhance}
    built, given = model(**settings | {"tasks": settings["tasks"] | CONSTRAINTS}), batch(4)
    with torch.autocast("cpu", torch.bfloat16):
        seen, losses = tiny.encodings(built, given), built(given)
        (record,) = seen.hosted.records
        tokens = seen.image_tokens
    assert bool(enhance) == (tokens.dtype == torch.bfloat16)
    assert {one.dtype for one in (record.sim, record.weight, record.gram, record.query_norm)} == {torch.float32}
    keys = built.query.image.head.of_vectors(tokens.float())
    assert torch.allclose(record.gram, keys @ keys.transpose(1, 2), atol=1e-6)
    torch.stack(list(losses.values())).sum().backward()
    assert all(losses[name].dtype == torch.float32 and losses[name].isfinite() for name in CONSTRAINTS)


def test_constraints_reach_the_layer_looked_at_and_the_heads() -> None:
    settings = HOSTS["fusion"]
    built = model(**settings | {"tasks": settings["tasks"] | {"ccr": {}}})
    built(batch(4))["ccr"].backward()
    moved = {name for name, one in built.named_parameters() if one.grad is not None and one.grad.abs().max() > 0}
    assert {"tasks.itm.fusion.blocks.1.cross.query.weight", "query.image.head.projection.1.weight"} <= moved
    assert "query.text.head.projection.1.weight" in moved
    assert not any(name.startswith(("tasks.itm.fusion.blocks.2", "tasks.itm.head")) for name in moved)


def test_recomputed_weights_give_the_layers_context() -> None:
    built, given = model(**HOSTS["fusion"]).eval(), batch(3)
    fusion, seen = built.tasks["itm"].fusion, tiny.encodings(built, given)
    assert isinstance(fusion, FusionEncoder) and isinstance(built.host, FusionHost) and built.host.layer == 1
    caught: dict[str, Any] = {}
    cross: Any = fusion.blocks[1].cross
    hook = cross.register_forward_hook(lambda module, inputs, output: caught.update(inputs=inputs, output=output))
    fusion(seen.text_tokens, given.text_mask, seen.image_tokens)
    hook.remove()
    x, context, bias, _ = caught["inputs"]
    weights = cross.weights(x, context, bias)
    value = cross._split(cross.key_value(context).chunk(2, dim=-1)[1])
    assert torch.allclose(cross.out((weights @ value).transpose(1, 2).flatten(2)), caught["output"], atol=1e-6)
    looked_at = fusion.attention(seen.text_tokens, given.text_mask, seen.image_tokens, 1)
    assert torch.allclose(looked_at, weights.mean(1), atol=1e-6)
    (record,) = seen.hosted.records
    assert torch.equal(record.weight, looked_at) and torch.allclose(record.weight.sum(-1), torch.ones(3, 8))


VIT = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
VIT |= {"intermediate_size": 16, "image_size": 32, "patch_size": 16}
"""A class token and four patches."""


@pytest.mark.parametrize("faithful", [True, False])
def test_the_class_token_lies_nowhere_for_pfan(faithful: bool) -> None:
    """All its slots are empty; the patches have the places that they have alone."""
    matcher = {"kind": "pfan", "width": 8, "faithful": faithful}
    pfan: dict[str, Any] = HOSTS["pfan"] | {"matcher": matcher}
    image: Any = {"kind": "hugging_face", "config": VIT, "frozen": False}
    built = tiny.model(**pfan | {"image": image})
    host, tokens = cast(Pfan, built.host), torch.randn(2, 5, 8)
    regions, patches = host.regions(tokens), host.regions(tokens[:, 1:])
    nowhere = host.position.weight[OUTSIDE] if faithful else torch.zeros(200)
    wanted = l2norm(host.image(torch.cat([tokens[:, 0], nowhere.expand(2, -1)], dim=1)))
    assert torch.allclose(regions[:, 0], wanted, atol=1e-6) and torch.allclose(regions[:, 1:], patches, atol=1e-6)
    assert built(batch(3))["triplet"].isfinite()
    image = {"kind": "precomputed", "regions": 5, "width": 8}
    precomputed = tiny.model(**pfan | {"image": image})
    with pytest.raises(SettingsError, match="5 regions are no square"):
        precomputed(tiny.batch(3, image=torch.randn(3, 5, 8)))


def test_the_class_token_is_no_key_of_the_fusion_host() -> None:
    """Dropped as its measures drop it, and the patches' weights sum to 1; of regions nothing is dropped."""
    image: Any = {"kind": "hugging_face", "config": VIT, "frozen": False}
    fusion: dict[str, Any] = HOSTS["fusion"]
    built, given = tiny.model(**fusion | {"image": image}).eval(), batch(3)
    seen = tiny.encodings(built, given)
    (record,) = seen.hosted.records
    other = seen.hosted.other(record, torch.tensor([1, 2, 0]))
    whole = built.host.attention(seen.image_tokens, seen.text_tokens, given.text_mask)  # pyright: ignore
    assert whole.shape == (3, 8, 5) and whole[..., 0].min() > 0.01
    for row, word in np.ndindex(3, 8):
        kept = whole[row, word].tolist()[1:]
        wanted = torch.tensor([one / sum(kept) for one in kept])
        assert torch.allclose(record.weight[row, word], wanted, atol=1e-6)
    keys = built.query.image.head.of_vectors(seen.image_tokens)[:, 1:]
    assert torch.allclose(record.gram, keys @ keys.transpose(1, 2), atol=1e-6)
    assert record.sim.shape == other.weight.shape == (3, 8, 4) and record.key_mask.shape == (3, 4)
    assert torch.allclose(other.weight.sum(-1), torch.ones(3, 8))
    image = {"kind": "precomputed", "regions": 5, "width": 8}
    regions = tiny.model(**fusion | {"image": image})
    given = tiny.batch(3, image=torch.randn(3, 5, 8))
    assert tiny.encodings(regions, given).hosted.records[0].weight.shape == (3, 8, 5)


def test_words_that_say_nothing_are_no_queries() -> None:
    words = torch.tensor([[-1, 5, 6, -1, -1, -1, -1, -1]] * 2)
    given = batch(2, words=words)
    (record,) = tiny.encodings(model(**HOSTS["scan"]), given).hosted.records
    assert record.query_mask.tolist() == (given.text_mask & (words >= 0)).tolist()


def test_a_draw_of_another_sample_is_unrelated_and_keyed() -> None:
    settings = HOSTS["scan"]
    tasks = settings["tasks"] | {"ccs": {"source": "inter"}}
    built = model(tasks=tasks, matcher=SCAN)
    codes = torch.tensor([1, 1, 1, 2])[:, None].expand(-1, tiny.ATTRIBUTES).int()
    source = built.tasks["ccs"].source
    seen = tiny.encodings(built, batch(4, image_codes=codes, text_codes=codes))
    rows, has = source._partners(seen, seen.hosted.records[0])  # pyright: ignore
    assert has.all() and rows[:3].tolist() == [3, 3, 3] and int(rows[3]) in (0, 1, 2)
    same = batch(4, image_codes=codes[:1].expand(4, -1), text_codes=codes[:1].expand(4, -1))
    loss = built(same)["ccs"]
    loss.backward()
    assert loss.item() == 0


def test_a_hosts_weights_are_part_of_the_model() -> None:
    built = model(**HOSTS["scan"])
    assert isinstance(built.host, Matcher) and "host.image.weight" in built.state_dict()
    fusion = model(**HOSTS["fusion"])
    assert not any(name.startswith("host") for name in fusion.state_dict())
    assert tiny.settings().model_dump(exclude_defaults=True) == tiny.settings(matcher=None).model_dump(
        exclude_defaults=True
    )


PLACED: dict[str, Any] = {
    "image": {"kind": "precomputed", "regions": 4, "width": 8, "positions": True},
    "matcher": {"kind": "pfan", "width": 8, "positions": True},
    "tasks": {"itc": None, "triplet": {}},
}
"""Regions that bring their blocks."""


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tasks": {"ccr": {}}}, "tasks.ccr needs model.matcher"),
        ({"tasks": {"triplet": {}}}, "tasks.triplet needs model.matcher"),
        ({"matcher": SCAN}, "matcher scan needs tasks.triplet"),
        ({"matcher": {"kind": "fusion"}}, "matcher fusion needs tasks.itm"),
        (
            {"matcher": {"kind": "fusion"}, "tasks": {"triplet": {}} | ITM},
            "tasks.triplet needs model.matcher of another",
        ),
        (
            {"tasks": {"itc": None, "ccr": {"weight": 0}}},
            "at least one task of a weight above 0; allowed: itc, itm, lm",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        tiny.settings(**changes)


def test_blocks_of_regions_are_the_hosts_matter_alone() -> None:
    """All other tasks, and enhancers, stand beside it and see features: other blocks change what the host says only."""
    tasks = {"itc": {}, "triplet": {}, "lm": {"decoder": tiny.FUSION}, "cons": {}} | ITM
    narrow = [{"kind": "project", "width": 6}, {"kind": "residual_attention", "heads": 2}]
    built = model(**PLACED | {"tasks": tasks, "image_enhance": narrow, "queue": {"size": 6}}).train()
    draw = torch.Generator().manual_seed(0)
    features, shares = torch.randn(4, 4, 8, generator=draw), torch.rand(4, 4, 15, generator=draw)
    first, second = (torch.randint(0, OUTSIDE, (4, 4, 15), generator=draw).float() for _ in range(2))
    said = [built(tiny.batch(4, image=torch.cat([features, ids, shares], dim=2))) for ids in (first, second)]
    changed = {name for name, loss in said[0].items() if abs((loss - said[1][name]).item()) > 1e-6}
    assert changed == {"triplet"} and all(loss.isfinite() for loss in said[0].values())
    other = built(tiny.batch(4, image=torch.cat([features.flip(0), first, shares], dim=2)))
    assert {name for name, loss in said[0].items() if abs((loss - other[name]).item()) > 1e-6} >= {
        "triplet",
        "itc",
        "lm",
    }
    stored = torch.cat([features, first, shares], dim=2)
    assert built.placed_tokens(stored).shape == (4, 4, 6 + 30) and built.encode_image(stored).isfinite().all()


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"model.matcher.layer: 3; the fusion encoder has 3, from 0"):
        model(matcher={"kind": "fusion", "layer": 3}, tasks=ITM)


@pytest.mark.parametrize("host", HOSTS)
def test_one_row_one_word_and_one_species_have_a_loss_without_nan(host: str) -> None:
    settings = HOSTS[host]
    built = model(**settings | {"tasks": settings["tasks"] | {"ccr": {}, "ccs": {"source": "inter"}}})
    one = torch.arange(8)[None] < 1
    same = torch.ones(3, tiny.ATTRIBUTES, dtype=torch.int32)
    one_species = batch(3, image_codes=same, text_codes=same)
    for given in [batch(1), batch(2, text_mask=one.expand(2, -1)), one_species]:
        built.zero_grad()
        losses, found = gradients(built, given)
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert all(torch.isfinite(gradient).all() for gradient in found.values())
    assert losses["ccs"] == 0 and losses.get("triplet", losses.get("itm")) == 0 and losses["ccr"] > 0


@pytest.mark.parametrize("task", CONSTRAINTS)
@pytest.mark.parametrize("pool", ["mean", "own"])
def test_a_text_of_one_token_has_no_words_to_constrain(task: str, pool: str) -> None:
    text = {"kind": "hugging_face", "path": "package:nobody", "pool": pool}
    asked = {"text": text, "tasks": {"itc": None, "triplet": {}, task: {}}, "matcher": SCAN}
    with pytest.raises(SettingsError, match=rf"tasks.{task} needs words, and text.pool is {pool}"):
        tiny.settings(**asked)
    assert tiny.settings(**asked | {"text": text | {"pool": "tokens"}}).matcher is not None
