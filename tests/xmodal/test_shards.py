"""A sharded queue is the whole one: losses, gradients, rows, refresh and checkpoints, at any number of workers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tests.xmodal import tiny
from tests.xmodal.test_unified import Given
from tests.xmodal.test_world_size import ROWS, SPLITS, STEPS, global_batch, part
from tests.xmodal.world import World
from xmodal import checkpoint, distributed
from xmodal.distributed import Diverged
from xmodal.model import SHARDED
from xmodal.policies import POLICIES
from xmodal.products import plain, widened
from xmodal.queue import PRECISIONS, QueueSettings, ShardedQueue
from xmodal.relations import Relations
from xmodal.settings import SettingsError
from xmodal.tasks import Tasks
from xmodal.tasks.contrastive import MILNCE, CrossEntropy, UniCon
from xmodal.tasks.unified import Part, SoftHinge, over_queue

MODELS: dict[str, Any] = {
    "mask and ITM, refreshed": {
        "tasks": {"itc": {"i2t_weight": 0.3}, "itm": {"fusion": tiny.FUSION}},
        "queue": {"size": 10, "refresh": {"every": 2}},
    },
    "soft, fewer rows than workers": {"tasks": {"itc": {"fn_policy": "soft"}}, "queue": {"size": 2}},
    "unicon, UTO mask": {
        "tasks": {"itc": {"fn_policy": "unicon"}, "uto": {"batch_weight": 2, "mu": 10}},
        "queue": {"size": 7},
    },
    "none, UTO soft": {
        "tasks": {"itc": {"fn_policy": "none"}, "uto": {"fn_policy": "soft", "batch_weight": 1, "mu": 10}},
        "queue": {"size": 30},
    },
    "UTO none, the queue alone": {
        "tasks": {"itc": None, "uto": {"fn_policy": "none", "batch_weight": 0, "gamma": 0.1}},
        "queue": {"size": 13},
    },
    "mil": {"tasks": {"itc": {"fn_policy": "mil"}}, "queue": {"size": 9}},
    "soft, bfloat16": {"tasks": {"itc": {"fn_policy": "soft"}}, "queue": {"size": 11, "keys": "bf16"}},
}
STEEP = {name for name, model in MODELS.items() if "uto" in model["tasks"]}
"""As in `tests.xmodal.test_world_size`: weights stay, so that rounding does not grow from step to step."""


def sharded(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"queue": settings["queue"] | {"sharded": True}}


def run(split: list[list[int]], settings: dict[str, Any], rate: float) -> list[dict[str, Tensor]]:
    """Losses, figures, each parameter's gradient, the rows of the queue and its age after every step."""
    built = tiny.model(**settings)
    wrapped = DistributedDataParallel(built, forward_sync_buffers=False) if dist.is_initialized() else built
    optimizer = torch.optim.SGD(built.parameters(), rate)
    mine, trace = torch.tensor(split[distributed.rank()], dtype=torch.int64), []
    for step in range(STEPS):
        losses = wrapped(tiny.rows_of(global_batch(step), mine))
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        told = {name: one.detach() for name, one in (losses | built.figures).items()}
        means = {name: distributed.sum_across(one) / distributed.world_size() for name, one in told.items()}
        gradients = {f"d {name}": one.grad for name, one in built.named_parameters() if one.grad is not None}
        optimizer.step()
        built.after_step(step)
        rows, steps = built.queue.ordered()
        queue = {f"queue {name}": column.clone() for name, column in (rows.columns() | {"step": steps}).items()}
        state = torch.stack(list(built.state(step + 1).values())).detach()
        trace.append(means | gradients | queue | {"state": state})
    return trace


@pytest.mark.parametrize("split", ["one", "two", "uneven", "an empty rank"])
@pytest.mark.parametrize("kind", MODELS)
def test_losses_gradients_and_rows_are_those_of_a_whole_queue(world: World, kind: str, split: str) -> None:
    rate = 0.0 if kind in STEEP else 0.05
    alone = run(SPLITS["one"], MODELS[kind], rate)
    for rank in world.run(len(SPLITS[split]), run, SPLITS[split], sharded(MODELS[kind]), rate):
        for step, (found, wanted) in enumerate(zip(rank, alone, strict=True)):
            assert found.keys() == wanted.keys() and "d temperature.log" in wanted
            for name, one in wanted.items():
                assert found[name].shape == one.shape, (step, name)
                apart = (found[name].double() - one.double()).norm()
                assert apart <= 1e-5 * max(1.0, one.double().norm().item()), (step, name)
                assert one.is_floating_point() or torch.equal(found[name], one), (step, name)


def test_the_models_above_exercise_what_they_should() -> None:
    """Rings wrap, stored positives and ignored rows are there, the temperature learns."""
    for kind, settings in MODELS.items():
        trace = run(SPLITS["one"], settings, 0.05)
        assert "uto" in settings["tasks"] or trace[-1]["d temperature.log"].abs() > 1e-3, kind
    built = tiny.model(**MODELS["none, UTO soft"])
    built.queue.push(tiny.encodings(built, global_batch(0)).gathered, 0)
    relations = tiny.encodings(built, global_batch(1)).i2t.relations
    assert relations.positive[:, ROWS:].any() and relations.ignored[:, ROWS:].any()
    assert ROWS * STEPS > 13 + ROWS


def held(settings: dict[str, Any], split: list[list[int]]) -> tuple[int, list[int], int]:
    """Rows held here, samples of the slots that these should be of, and bytes of their vectors."""
    built = tiny.model(**settings)
    mine = torch.tensor(split[distributed.rank()], dtype=torch.int64)
    for step in range(STEPS):
        built.fresh_keys.append(built.encodings(tiny.rows_of(global_batch(step), mine)).gathered)
        built.after_step(step)
    rows = built.queue.keys
    return len(rows), rows.sample_id.tolist(), rows.image.nbytes + rows.text.nbytes


def test_each_worker_holds_its_slots_and_no_more(world: World) -> None:
    settings: dict[str, Any] = {"queue": {"size": 10}}
    size, every, bytes_ = held(settings, SPLITS["one"])
    assert size == 10
    for rank, (count, samples, some) in enumerate(world.run(3, held, sharded(settings), SPLITS["three"])):
        assert count == (4, 3, 3)[rank] and samples == every[rank::3] and some == bytes_ * count // 10
    halved = sharded({"queue": {"size": 10, "keys": "bf16"}})
    assert [some for *_, some in world.run(2, held, halved, SPLITS["two"])] == [bytes_ // 4] * 2


@pytest.mark.parametrize("back", [True, False], ids=["sharded again", "then whole"])
def test_a_run_resumed_on_more_workers_is_the_run_that_never_stopped(world: World, back: bool, tmp_path: Path) -> None:
    """Two workers with a sharded queue, a checkpoint within a window of the refresh, three workers."""
    settings = MODELS["mask and ITM, refreshed"]
    alone = part(SPLITS["one"], settings, str(tmp_path / "alone"), 0, STEPS)
    folder, then = str(tmp_path / "resumed"), sharded(settings) if back else settings
    world.run(2, part, SPLITS["two"], sharded(settings), folder, 0, 3)
    ranks = world.run(3, part, SPLITS["three"], then, folder, 3, STEPS)
    for rank, found in enumerate(ranks):
        told = [name for name in alone if rank == 0 or not name.startswith("queue/")]  # the first rank has the whole
        for name in told:
            bound = 1e-5 * max(1.0, alone[name].double().norm().item())
            assert found[name].dtype == alone[name].dtype
            assert (found[name].double() - alone[name].double()).norm() <= bound, name


def test_a_checkpoint_of_shares_is_the_checkpoint_of_a_whole_queue(world: World, tmp_path: Path) -> None:
    """The same columns of the same shapes: a single process reads it (`xmodal evaluate`)."""
    settings = {"queue": {"size": 7}, "tasks": {"itc": {}}}
    alone = part(SPLITS["one"], settings, str(tmp_path / "alone"), 0, 3)
    folder = tmp_path / "shares"
    world.run(3, part, SPLITS["three"], sharded(settings), str(folder), 0, 3)
    whole, single = tiny.model(**settings), tiny.model(**sharded(settings))
    for built in (whole, single):
        checkpoint.load_momentum(folder, built)
    assert isinstance(single.queue, ShardedQueue)
    assert len(whole.queue) == len(single.queue) == 7 and whole.queue.total == 3 * ROWS
    for name, one in whole.queue.state().items():
        assert torch.equal(single.queue.state()[name], one)
        assert torch.allclose(alone[f"queue/{name}"].double(), one.double(), atol=1e-5)


def diverging(odd: bool) -> str:
    """What the comparison says where the last rank has written its rows at another step."""
    built = tiny.model(**sharded({"queue": {"size": 7}}))
    keys = built.encodings(tiny.rows_of(global_batch(0), torch.arange(ROWS)[distributed.rank() :: 2])).gathered
    built.queue.push(keys, int(odd and distributed.rank() == 1))
    try:
        distributed.check_alike(built.replicated())
    except Diverged as error:
        return str(error)
    return ""


def test_what_can_be_compared_of_shares_is(world: World) -> None:
    assert world.run(2, diverging, False) == ["", ""]
    assert world.run(2, diverging, True) == ["queue.step_written and 0 more are no longer the same on every worker"] * 2


HINGE = SoftHinge(90.0, 0.3)
LOSSES: dict[str, Any] = {
    **{f"cross entropy, {name}": CrossEntropy(policy) for name, policy in POLICIES.items()},
    "unicon": UniCon(),
    "mil": MILNCE(),
    **{f"UTO, {name}": Part(1.0, 1.0, over_queue, HINGE, policy) for name, policy in POLICIES.items()},
}


@pytest.mark.parametrize("name", LOSSES)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 5), max_size=3), st.floats(0, 1))
def test_shares_of_any_length_merge_to_the_whole(name: str, seed: int, lengths: list[int], usable: float) -> None:
    """And so do their gradients, also where a share is empty or has nothing that counts; targets are float32."""
    generator = torch.Generator().manual_seed(seed)
    cuts = [4, *lengths]
    scores = (2 * torch.rand(3, sum(cuts), generator=generator, dtype=torch.float64) - 1).requires_grad_()
    kind = torch.randint(0, 3, scores.shape, generator=generator)
    own = torch.zeros_like(scores, dtype=torch.bool)
    own[torch.arange(3), torch.arange(3)] = True
    relations = Relations(own, (kind == 1) & ~own, (kind == 2) & ~own)
    valid = torch.rand(sum(cuts), generator=generator) < usable
    whole = LOSSES[name].whole(Given(scores, relations), valid)
    columns = zip(scores.split(cuts, 1), *(one.split(cuts, 1) for one in vars(relations).values()), strict=True)
    parts = zip(columns, valid.split(cuts), strict=True)
    said = [LOSSES[name].partials(Given(one, Relations(*related)), good) for (one, *related), good in parts]
    merged = LOSSES[name].merged(torch.stack(said, dim=1))
    assert torch.allclose(merged, whole, rtol=1e-6, atol=1e-6)
    first, second = (torch.autograd.grad(one.sum(), scores)[0] for one in (whole, merged))
    assert torch.allclose(first, second, rtol=1e-6, atol=1e-6)


def test_products_of_bfloat16_keys_are_float32_ones_of_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmodal.products.CHUNK", 3)
    vectors = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    keys = torch.randn(7, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
    found, wanted = widened(vectors, keys), plain(vectors, keys.float())
    assert found.dtype == torch.float32 and torch.allclose(found, wanted, atol=1e-6)
    weights = torch.randn(4, 7, generator=torch.Generator().manual_seed(2))
    first, second = (torch.autograd.grad((one * weights).sum(), vectors)[0] for one in (found, wanted))
    assert torch.allclose(first, second, atol=1e-6)


def test_what_bfloat16_keys_cost() -> None:
    """The figures of `QueueSettings.keys`."""
    generator = torch.Generator().manual_seed(0)
    f, k = (torch.nn.functional.normalize(torch.randn(500, 256, generator=generator), dim=1) for _ in range(2))
    near = torch.nn.functional.normalize(f + 0.02 * k, dim=1)
    for keys in (k, near):
        off = (plain(f, keys.to(PRECISIONS["bf16"].dtype).float()) - plain(f, keys)).abs()
        assert 2e-5 < off.mean() < 2e-4 and off.max() < 0.002


def test_what_needs_all_keys_in_one_place_is_refused_by_name() -> None:
    queue = {"size": 10, "sharded": True}
    for name, task in (("anchor", {"anchor": {}}), ("itc.distillation", {"itc": {"distillation": {}}})):
        with pytest.raises(SettingsError, match=f"tasks.{name} needs all stored keys in one place") as refused:
            tiny.settings(queue=queue, tasks=task)
        assert "\n" not in str(refused.value)
    tiny.settings(queue=queue, tasks={"itc": {"weight": 0, "distillation": {}}, "uto": {}})
    assert set(Tasks.model_fields) == {*SHARDED, "anchor"}
    for wrong in ({"size": 0, "sharded": True}, {"size": 8, "keys": "bf16", "refresh": {}}):
        with pytest.raises(SettingsError, match="queue"):
            tiny.settings(queue=wrong)
    assert QueueSettings() == QueueSettings(sharded=False, keys="fp32")
