"""ITC against slow references written from the formulas: numpy loops, MoCo and ALBEF step by step."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, normalize, softmax

from tests.xmodal import tiny
from xmodal.heads import Head
from xmodal.model import CrossModalModel
from xmodal.queue import Keys
from xmodal.relations import Relations
from xmodal.tasks.contrastive import Distillation

PER_EPOCH = 3


def filled(built: CrossModalModel, rows: int = 7) -> CrossModalModel:
    """Fills the queue with random keys that are related to batches of step 0 in every way."""
    other = tiny.batch(rows, seed=0, step=0)
    vectors = normalize(torch.randn(2, rows, 8), dim=-1)
    ids = (other.sample_id + torch.arange(rows) % 3, other.caption_id + 1, torch.arange(rows) % 4)
    keys = Keys(*ids, other.image_codes, other.text_codes, torch.ones(rows, dtype=torch.bool), *vectors)
    built.queue.push(keys, 0)
    return built


def loop(query: Tensor, keys: Tensor, relations: Relations, valid: Tensor, policy: str, tau: float) -> list[float]:
    """-sum_j y_ij log(exp(s_ij) / sum of the allowed), by loops in double precision."""
    losses = []
    for i in range(len(query)):
        scores = [(query[i].double() @ key.double()).item() / tau for key in keys]
        own = int(relations.own[i].int().argmax())
        usable = [j for j in range(len(keys)) if j == own or bool(valid[j])]
        positives = {own} | ({j for j in usable if relations.positive[i, j]} if policy == "soft" else set())
        left_out = (
            {j for j in usable if j not in positives and not relations.unrelated[i, j]} if policy != "none" else set()
        )
        total = sum(math.exp(scores[j]) for j in usable if j not in left_out)
        losses.append(-sum(math.log(math.exp(scores[j]) / total) for j in positives) / len(positives))
    return losses


@pytest.mark.parametrize("policy", ["mask", "soft", "none"])
@pytest.mark.parametrize("i2t", [0.5, 0.3])
def test_the_loss_is_the_formula(policy: str, i2t: float) -> None:
    built = filled(tiny.model(tasks={"itc": {"fn_policy": policy, "i2t_weight": i2t}}))
    valid = torch.tensor([True, True, False, True, True])
    given = tiny.batch(5, sequence_id=torch.tensor([1, 1, 2, -1, 3]), valid=valid)
    seen = tiny.encodings(built, given)
    usable, queue = seen.candidates.valid, built.queue.keys
    texts, images = torch.cat([seen.keys.text, queue.text]), torch.cat([seen.keys.image, queue.image])
    first = loop(seen.image, texts, seen.i2t.relations, usable, policy, 0.07)
    second = loop(seen.text, images, seen.t2i.relations, usable, policy, 0.07)
    rows = [i2t * a + (1 - i2t) * b for a, b, good in zip(first, second, valid, strict=True) if good]
    assert built(given)["itc"].item() == pytest.approx(np.mean(rows), rel=1e-5)
    assert seen.i2t.relations.positive.any() and seen.i2t.relations.ignored.any()


def test_equal_similarities_give_log_n() -> None:
    built = tiny.model(tasks={"itc": {"fn_policy": "none"}})
    for towers in (built.query, built.key.encoder):
        for tower in (towers.image, towers.text):
            assert isinstance(tower.head, Head)
            last = tower.head.projection[-1]
            assert isinstance(last, torch.nn.Linear)
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.ones_(last.bias)
    assert built(tiny.batch(6))["itc"].item() == pytest.approx(math.log(6), abs=1e-5)


def test_one_pair_and_an_empty_queue_give_zero_without_gradient() -> None:
    built = tiny.model()
    loss = built(tiny.batch(1))["itc"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and (p.grad == 0).all() for p in built.query.parameters())


@pytest.mark.parametrize("policy", ["mask", "soft", "none"])
def test_a_batch_of_one_species_is_finite(policy: str) -> None:
    built = tiny.model(tasks=tiny.ALL_TASKS | {"itc": {"fn_policy": policy}})
    codes = torch.ones(4, tiny.ATTRIBUTES, dtype=torch.int32)
    optimizer = torch.optim.AdamW(built.parameters())
    for step in range(3):
        same = tiny.batch(
            4, step=step, image_codes=codes, text_codes=codes, caption_id=torch.zeros(4, dtype=torch.int64)
        )
        losses = tiny.step(built, optimizer, same)
        assert all(math.isfinite(loss) for loss in losses.values()) and losses["itm"] == 0
        assert losses["itc"] == 0 or policy != "mask"


def test_padded_rows_change_nothing() -> None:
    whole = tiny.batch(6)
    part = tiny.rows_of(whole, torch.arange(4))
    padded = replace(whole, valid=torch.arange(6) < 4)
    found = [tiny.model(tasks=tiny.ALL_TASKS)(given) for given in (part, padded)]
    for name in tiny.ALL_TASKS:
        assert found[0][name].item() == pytest.approx(found[1][name].item(), abs=1e-6), name


def test_logits_and_losses_stay_float32_under_autocast() -> None:
    built = filled(tiny.model(tasks=tiny.ALL_TASKS))
    with torch.autocast("cpu", torch.bfloat16):
        seen = tiny.encodings(built, tiny.batch(4))
        vectors, logits = seen.image, seen.i2t.logits
        assert all(loss.dtype == torch.float32 for loss in built(tiny.batch(4)).values())
    exact = vectors @ torch.cat([seen.gathered.text, built.queue.keys.text]).T / built.temperature.value
    assert vectors.dtype == logits.dtype == torch.float32 and torch.allclose(logits, exact, atol=1e-6)


def test_the_ramp_of_distillation_is_in_samples() -> None:
    ramp = Distillation(alpha=0.4, ramp=1000)
    assert ramp.share(0) < 0.001 and ramp.share(500) == pytest.approx(0.2, abs=1e-3)
    assert ramp.share(1000) == ramp.share(10**9) == 0.4 and Distillation(alpha=0.4).share(0) == 0.4


class MoCo:
    """InfoNCE with one positive at column 0 and a queue (He et al. 2020, algorithm 1), for one row a step."""

    def __init__(self, built: CrossModalModel, m: float, size: int):
        self.query, self.key, self.m, self.size = built.query, copy.deepcopy(built.query), m, size
        self.queues: dict[str, list[Tensor]] = {"image": [], "text": []}

    def vectors(self, towers: Any, given: Any) -> tuple[Tensor, Tensor]:
        tokens = towers.text(given.text, given.text_mask)
        return towers.image_vectors(towers.image(given.image)), towers.text_vectors(tokens, given.text_mask)

    def step(self, given: Any, optimizer: torch.optim.Optimizer, tau: float) -> float:
        f, e = self.vectors(self.query, given)
        with torch.no_grad():
            f_key, e_key = self.vectors(self.key, given)
        halves = []
        for query, key, name in ((f, e_key, "text"), (e, f_key, "image")):
            logits = torch.stack([(query[0] @ one) for one in [key[0], *self.queues[name]]])[None] / tau
            halves.append(cross_entropy(logits, torch.zeros(1, dtype=torch.int64)))
        loss = (halves[0] + halves[1]) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for mean, latest in zip(self.key.parameters(), self.query.parameters(), strict=True):
            mean.data = self.m * mean.data + (1 - self.m) * latest.data
        for name, key in (("text", e_key), ("image", f_key)):
            self.queues[name] = [*self.queues[name], key[0]][-self.size :]
        return loss.item()


def test_without_policy_and_distillation_it_is_moco() -> None:
    momentum, fixed = {"coefficient": 0.9, "warmup": 1}, {"learnable": False}
    built = tiny.model(tasks={"itc": {"fn_policy": "none"}}, momentum=momentum, temperature=fixed, queue={"size": 3})
    reference = MoCo(copy.deepcopy(built), 0.9, 3)
    ours, theirs = (torch.optim.SGD(one.query.parameters(), 0.05) for one in (built, reference))
    for step in range(6):
        given = tiny.batch(1, step=step)
        assert tiny.step(built, ours, given)["itc"] == pytest.approx(reference.step(given, theirs, 0.07), abs=1e-5)


class ALBEF:
    """The contrastive part of ALBEF, one process, in the order of its released model_retrieval.py and
    model_pretrain.py: EMA, key forward, targets, loss; then the queue. The
    temperature is learned as its logarithm, the one thing that is ours."""

    def __init__(self, built: CrossModalModel, m: float, alpha: float, by_index: bool):
        self.query, self.key, self.log_temp = built.query, copy.deepcopy(built.query), built.temperature.log
        self.m, self.alpha, self.by_index = m, alpha, by_index
        self.image_queue = self.text_queue = torch.zeros(8, 0)
        self.index_queue = torch.zeros(0, dtype=torch.int64)

    def vectors(self, towers: Any, given: Any) -> tuple[Tensor, Tensor]:
        tokens = towers.text(given.text, given.text_mask)
        return towers.image_vectors(towers.image(given.image)), towers.text_vectors(tokens, given.text_mask)

    def step(self, given: Any, index: Tensor, optimizer: torch.optim.Optimizer) -> float:
        temp = self.log_temp.exp()
        image_feat, text_feat = self.vectors(self.query, given)
        with torch.no_grad():
            for param_m, param in zip(self.key.parameters(), self.query.parameters(), strict=True):
                param_m.data = param_m.data * self.m + param.data * (1.0 - self.m)
            image_feat_m, text_feat_m = self.vectors(self.key, given)
            image_feat_all = torch.cat([image_feat_m.t(), self.image_queue], dim=1)
            text_feat_all = torch.cat([text_feat_m.t(), self.text_queue], dim=1)
            index_all = torch.cat([index, self.index_queue])
            sim_targets = torch.zeros(len(index), len(index_all))
            sim_targets.fill_diagonal_(1)
            if self.by_index:
                pos = torch.eq(index[:, None], index_all[None]).float()
                sim_targets = pos / pos.sum(1, keepdim=True)
            sim_i2t_m = image_feat_m @ text_feat_all / temp
            sim_t2i_m = text_feat_m @ image_feat_all / temp
            sim_i2t_targets = self.alpha * softmax(sim_i2t_m, dim=1) + (1 - self.alpha) * sim_targets
            sim_t2i_targets = self.alpha * softmax(sim_t2i_m, dim=1) + (1 - self.alpha) * sim_targets
        sim_i2t = image_feat @ text_feat_all / temp
        sim_t2i = text_feat @ image_feat_all / temp
        loss_i2t = -torch.sum(log_softmax(sim_i2t, dim=1) * sim_i2t_targets, dim=1).mean()
        loss_t2i = -torch.sum(log_softmax(sim_t2i, dim=1) * sim_t2i_targets, dim=1).mean()
        loss = (loss_i2t + loss_t2i) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            self.log_temp.clamp_(math.log(0.001), math.log(0.5))
        self.image_queue = torch.cat([self.image_queue, image_feat_m.t()], dim=1)
        self.text_queue = torch.cat([self.text_queue, text_feat_m.t()], dim=1)
        self.index_queue = torch.cat([self.index_queue, index])
        return loss.item()


@pytest.mark.parametrize(("policy", "alpha"), [("none", 0.0), ("none", 0.4), ("soft", 0.0), ("soft", 0.4)])
def test_it_is_albef_step_by_step(policy: str, alpha: float) -> None:
    distillation = {"alpha": alpha} if alpha else None
    task = {"fn_policy": policy, "distillation": distillation}
    momentum = {"coefficient": 0.9, "warmup": 1}
    built = tiny.model(tasks={"itc": task}, momentum=momentum, queue={"size": 4 * PER_EPOCH})
    reference = ALBEF(copy.deepcopy(built), 0.9, alpha, policy == "soft")
    ours = torch.optim.SGD([*built.query.parameters(), *built.temperature.parameters()], 0.05)
    theirs = torch.optim.SGD([*reference.query.parameters(), reference.log_temp], 0.05)
    for step in range(PER_EPOCH):
        index = torch.tensor([0, 1, 0, step])  # ALBEF's idx is our code: equal means related
        codes = index[:, None].to(torch.int32).expand(-1, tiny.ATTRIBUTES)
        given = tiny.batch(4, step=step, image_codes=codes, text_codes=codes)
        expected = reference.step(given, index, theirs)
        assert tiny.step(built, ours, given)["itc"] == pytest.approx(expected, abs=1e-5)
    for mine, other in zip(built.query.parameters(), reference.query.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize("policy", ["mask", "soft", "none"])
def test_a_queue_larger_than_the_dataset_holds_every_image_more_than_once(policy: str) -> None:
    """Four images that come again and again: earlier keys of the own image are no negatives, except by `none`."""
    built = tiny.model(tasks={"itc": {"fn_policy": policy}}, queue={"size": 10})
    nothing = torch.full((4, tiny.ATTRIBUTES), -1, dtype=torch.int32)
    for step in range(4):
        given = tiny.batch(4, seed=0, step=0, image_codes=nothing, text_codes=nothing)
        given = replace(given, image=(given.image + step).to(torch.uint8), step=step)
        seen = tiny.encodings(built, given)
        loss = built(given)["itc"]
        texts, images = (torch.cat([own, stored]) for own, stored in (
            (seen.keys.text, built.queue.keys.text), (seen.keys.image, built.queue.keys.image)))  # fmt: skip
        wanted = [
            _own_image_left_out(query, keys, seen.candidates.sample_id, seen.candidates.valid, given.sample_id, policy)
            for query, keys in ((seen.image, texts), (seen.text, images))
        ]
        assert loss.item() == pytest.approx(np.mean(wanted), rel=1e-5)
        loss.backward()
        built.after_step(step)
    assert len(built.queue) == 10 and built.queue.keys.sample_id.bincount()[given.sample_id].tolist() == [2, 2, 3, 3]
    assert all(one.grad is None or one.grad.isfinite().all() for one in built.parameters())


def _own_image_left_out(query: Tensor, keys: Tensor, names: Tensor, valid: Tensor, own: Tensor, policy: str) -> float:
    losses = []
    for i, name in enumerate(own.tolist()):
        same = [j for j in range(len(keys)) if j != i and valid[j] and int(names[j]) == name]
        left_out = same if policy == "mask" else []
        scores = {
            j: (query[i].double() @ keys[j].double()).item() / 0.07
            for j in range(len(keys))
            if (j == i or valid[j]) and j not in left_out
        }
        total = math.log(sum(math.exp(score) for score in scores.values()))
        positives = [i, *(same if policy == "soft" else [])]
        losses.append(np.mean([total - scores[j] for j in positives]))
    return float(np.mean(losses))
