"""UTO and UniCon against references written from the formulas, in numpy and in the words of the released code."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from tests.xmodal import tiny
from tests.xmodal.test_contrastive import filled
from xmodal.encodings import Direction
from xmodal.policies import POLICIES
from xmodal.relations import Relations
from xmodal.settings import SettingsError
from xmodal.tasks.contrastive import MILNCE, UniCon
from xmodal.tasks.unified import UTO, SoftHinge, Unified

MU, GAMMA = 90.0, 0.5
POLICY_NAMES = ["mask", "soft", "none"]


class Given(Direction):
    """A direction of given similarities, which are its logits too."""

    def __init__(self, similarity: Tensor, relations: Relations):
        self.similarity, self.logits, self.relations = similarity, similarity, relations


def phi(scores: list[float]) -> float:
    """(1 / mu) log(1 + sum exp(mu (s - gamma))) in double precision."""
    return math.log(1 + sum(math.exp(MU * (s - GAMMA)) for s in scores)) / MU


def rows(query: Tensor, others: Tensor, relations: Relations, usable: list[int], policy: str) -> list[tuple]:
    """(phi over negatives, mean of log(1 + max(0, s)) over positives) of every row, by loops."""
    found = []
    for i in range(len(query)):
        scores = [(query[i].double() @ other.double()).item() for other in others]
        own = int(relations.own[i].int().argmax())
        positives = {own} | ({j for j in usable if relations.positive[i, j]} if policy == "soft" else set())
        clear = [j for j in usable if policy == "none" or relations.unrelated[i, j]]
        negatives = [scores[j] for j in clear if j not in positives]
        pulled = np.mean([math.log(1 + max(0.0, scores[j])) for j in positives])
        found.append((phi(negatives), pulled))
    return found


@pytest.mark.parametrize("policy", POLICY_NAMES)
@pytest.mark.parametrize(("batch", "queue"), [(20.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
def test_the_loss_is_the_formula(policy: str, batch: float, queue: float) -> None:
    task = {"fn_policy": policy, "batch_weight": batch, "queue_weight": queue}
    built = filled(tiny.model(tasks={"itc": None, "uto": task}))
    valid = torch.tensor([True, True, False, True, True])
    given = tiny.batch(5, sequence_id=torch.tensor([1, 1, 2, -1, 3]), valid=valid)
    seen, stored = tiny.encodings(built, given), built.queue.keys
    inside = [j for j in range(5) if valid[j]]
    beyond = [5 + j for j in range(10) if stored.valid[j]]
    total = np.zeros(5)
    for direction, query, other in ((seen.i2t, "image", "text"), (seen.t2i, "text", "image")):
        asking, relations = getattr(seen, query), direction.relations
        keys = torch.cat([getattr(seen.gathered, other), getattr(stored, other)])
        in_batch = rows(asking, getattr(seen, other), relations.before(5), inside, policy)
        in_queue = rows(asking, keys, relations, beyond, policy)
        total += [batch * (a - b / 2) + queue * (c - d) for (a, b), (c, d) in zip(in_batch, in_queue, strict=True)]
    assert built(given)["uto"].item() == pytest.approx(total[valid.numpy()].mean(), abs=2e-6)
    assert seen.i2t.relations.positive.any() and seen.i2t.relations.ignored.any()


def released(
    f: Tensor, e: Tensor, fm: Tensor, em: Tensor, text_queue: Tensor, image_queue: Tensor, lamda: float
) -> Any:
    """The objective as zhangy0822/USER lib/loss.py computes it, with its plain exponentials and zeroed diagonal."""
    count = len(f)
    scores = f @ e.T
    eye = torch.eye(count, dtype=torch.bool)
    open_scores = scores.masked_fill(eye, 0.0)
    hard = torch.exp(MU * (open_scores - GAMMA))
    positive = torch.log(1 + relu(scores.diagonal())).sum() / count
    per_row = torch.log(1 + hard.sum(1)).sum() / MU / count
    batch = per_row + torch.log(1 + hard.sum(0)).sum() / MU / count - positive
    queue = 0.0
    for query, key, bank in ((f, em, text_queue), (e, fm, image_queue)):
        pull = torch.log(1 + relu((query * key).sum(1))).sum() / count
        queue = queue + torch.log(1 + torch.exp(MU * (query @ bank.T - GAMMA)).sum(1)).sum() / MU / count - pull
    return lamda * batch + queue


def test_unmasked_it_is_the_released_loss_in_double_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(6, 16, 24, dtype=torch.float64, generator=generator) + 0.8  # some above gamma, few below 0
    f, e, fm, em, texts, images = normalize(drawn, dim=-1)
    f, e = f.requires_grad_(), e.requires_grad_()
    own = Relations(torch.eye(16, dtype=torch.bool), *torch.zeros(2, 16, 16, dtype=torch.bool))
    wide = Relations(torch.eye(16, 32, dtype=torch.bool), *torch.zeros(2, 16, 32, dtype=torch.bool))
    sides = {
        "batch_i2t": Given(f @ e.T, own),
        "batch_t2i": Given(e @ f.T, own),
        "i2t": Given(f @ torch.cat([em, texts]).T, wide),
        "t2i": Given(e @ torch.cat([fm, images]).T, wide),
    }
    everyone = torch.ones(32, dtype=torch.bool)
    seen: Any = SimpleNamespace(
        **sides,
        gathered=SimpleNamespace(valid=everyone[:16]),
        candidates=SimpleNamespace(valid=everyone),
        layout=SimpleNamespace(rows=16),
        batch=SimpleNamespace(valid=everyone[:16]),
        count=torch.tensor(16),
    )
    ours = UTO(fn_policy="none", batch_weight=20.0).build(tiny.sizes())(seen)
    theirs = released(f, e, fm, em, texts, images, 20.0)
    assert ours.dtype == torch.float64 and abs((ours - theirs).item()) < 1e-12
    gradients = [torch.autograd.grad(loss, (f, e), retain_graph=True) for loss in (ours, theirs)]
    for mine, other in zip(*gradients, strict=True):
        assert (mine - other).abs().max() < 1e-12
    assert (f @ e.T).max() > 0.63 and (f * e).sum(1).min() < GAMMA


def test_phi_is_a_soft_maximum_and_zero_where_nothing_is_asked() -> None:
    measure = SoftHinge(MU, GAMMA)
    scores = torch.tensor([[0.1, 0.99, 0.7], [0.2, 0.3, 0.1], [1.0, 1.0, 1.0]])
    everything, nothing = torch.ones(3, 3, dtype=torch.bool), torch.zeros(3, 3, dtype=torch.bool)
    assert measure(scores, everything)[0].item() == pytest.approx(0.49, abs=1e-6)
    assert measure(scores, everything)[1].item() == pytest.approx(0.0, abs=1e-7)
    assert torch.equal(measure(scores, nothing), torch.zeros(3))
    near = SoftHinge(1e4, GAMMA)(scores, everything)
    assert torch.allclose(near, torch.tensor([0.49, 0.0, 0.5]), atol=2e-4)


def test_without_negatives_gradients_are_finite() -> None:
    for policy in ["mask", "soft"]:
        built = tiny.model(tasks={"itc": {"fn_policy": "unicon"}, "uto": {"fn_policy": policy}})
        codes = torch.ones(4, tiny.ATTRIBUTES, dtype=torch.int32)
        for step in range(2):
            same = tiny.batch(4, step=step, image_codes=codes, text_codes=codes)
            losses = tiny.step(built, torch.optim.SGD(built.parameters(), 0.1), same)
            assert all(map(math.isfinite, losses.values())) and losses["itc"] == 0
        assert all(torch.isfinite(weight).all() for weight in built.parameters())


def test_dead_positives_are_counted_over_valid_rows() -> None:
    built = tiny.model(tasks={"itc": None, "uto": {}})
    given = replace(tiny.batch(8), valid=torch.arange(8) < 6)
    built(given)
    seen = tiny.encodings(built, given)
    dead = ((seen.image * seen.text).sum(1)[:6] <= 0).float().mean().item()
    assert built.figures["uto/dead_positives"].item() == pytest.approx(dead)
    assert tiny.model().told == {}


def test_a_dead_positive_has_no_gradient_and_a_living_one_pulls_by_1_over_1_plus_s() -> None:
    similarity = torch.tensor([[-0.2, -1.0], [0.25, -1.0]], requires_grad=True)
    own = torch.tensor([[True, False], [True, False]])
    relations = Relations(own, torch.zeros_like(own), torch.zeros_like(own))
    part = UTO(queue_weight=0, batch_weight=1).build(tiny.sizes()).parts[0]
    part.asked = lambda _: ([Given(similarity, relations)], own[0])  # pyright: ignore
    part(None).sum().backward()  # pyright: ignore[reportArgumentType]
    assert similarity.grad is not None
    assert similarity.grad[:, 0].tolist() == pytest.approx([0.0, -0.5 / 1.25])


def test_it_stays_float32_and_finite_under_autocast() -> None:
    built = filled(tiny.model(tasks={"itc": None, "uto": {}}))
    with torch.autocast("cpu", torch.bfloat16):
        loss = built(tiny.batch(4))["uto"]
    assert loss.dtype == torch.float32 and loss.isfinite()


def test_both_parts_off_is_refused() -> None:
    with pytest.raises(SettingsError, match="nothing would be trained"):
        tiny.settings(tasks={"uto": {"batch_weight": 0, "queue_weight": 0}})
    with pytest.raises(SettingsError, match=r"allowed: itc, itm, lm, .*uto"):
        tiny.settings(tasks={"itc": None})


def test_a_part_of_weight_zero_is_not_built() -> None:
    task: Unified = UTO(batch_weight=0).build(tiny.sizes())
    assert len(task.parts) == 1


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_unicon_is_its_plain_form_and_with_one_positive_the_cross_entropy(scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = scale * (2 * torch.rand(6, 9, generator=generator, dtype=torch.float64) - 1)
    positives = torch.rand(6, 9, generator=generator) < 0.3
    positives[:, 0] = True
    ignored = (torch.rand(6, 9, generator=generator) < 0.2) & ~positives
    negatives = ~positives & ~ignored
    plain = torch.log(1 + (negatives * logits.exp()).sum(1) * (positives * (-logits).exp()).sum(1))
    own, none, everyone = *torch.zeros(2, 6, 9, dtype=torch.bool), torch.ones(9, dtype=torch.bool)
    own[:, 0] = True
    found = UniCon().whole(Given(logits, Relations(own, positives & ~own, ignored)), everyone)
    assert torch.allclose(found, plain, rtol=1e-12, atol=1e-12)
    alone = UniCon().whole(Given(logits, Relations(own, none, none)), everyone)
    assert torch.allclose(alone, -logits.log_softmax(1)[:, 0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_mil_is_its_plain_form_and_with_one_positive_the_cross_entropy(scale: float) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = (scale * (2 * torch.rand(6, 9, generator=generator, dtype=torch.float64) - 1)).requires_grad_()
    own, none, everyone = *torch.zeros(2, 6, 9, dtype=torch.bool), torch.ones(9, dtype=torch.bool)
    own[:, 0] = True
    positives = (torch.rand(6, 9, generator=generator) < 0.3) | own
    ignored = (torch.rand(6, 9, generator=generator) < 0.2) & ~positives
    found = MILNCE().whole(Given(logits, Relations(own, positives & ~own, ignored)), everyone)
    plain = -torch.log((positives * logits.exp()).sum(1) / (~ignored * logits.exp()).sum(1))
    assert torch.allclose(found, plain, rtol=1e-12, atol=1e-12)
    (pull,) = torch.autograd.grad(found.sum(), logits)
    assert (pull[positives] <= 0).all() and (pull[~positives] >= 0).all() and (pull[ignored] == 0).all()
    alone = MILNCE().whole(Given(logits, Relations(own, none, none)), everyone)
    assert torch.allclose(alone, -logits.log_softmax(1)[:, 0], rtol=1e-10, atol=1e-10)


def test_unicon_takes_positives_from_the_relations_and_no_distillation() -> None:
    built = filled(tiny.model(tasks={"itc": {"fn_policy": "unicon"}}))
    given = tiny.batch(5, sequence_id=torch.tensor([1, 1, 2, -1, 3]))
    seen, total = tiny.encodings(built, given), 0.0
    for direction in (seen.i2t, seen.t2i):
        allowed, positive = POLICIES["soft"](direction.relations, seen.candidates.valid)
        for i in range(5):
            row = direction.logits[i].tolist()
            away = sum(math.exp(s) for s, ok, y in zip(row, allowed[i], positive[i], strict=True) if ok and not y)
            total += math.log(1 + away * sum(math.exp(-s) for s, y in zip(row, positive[i], strict=True) if y)) / 10
    assert built(given)["itc"].item() == pytest.approx(total, rel=1e-5)
    for policy in ("unicon", "mil"):
        with pytest.raises(SettingsError, match=f"{policy} has no targets"):
            tiny.settings(tasks={"itc": {"fn_policy": policy, "distillation": {}}})
