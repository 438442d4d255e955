"""The same global batches give the same losses, gradients and queue on one, two and three workers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tests.xmodal import tiny
from tests.xmodal.world import World
from xmodal import checkpoint, distributed
from xmodal.batch import Batch
from xmodal.matchers import Matcher

ROWS, STEPS = 6, 4
SPLITS = {
    "one": [[0, 1, 2, 3, 4, 5]],
    "two": [[0, 2, 4], [1, 3, 5]],
    "three": [[0, 3], [1, 4], [2, 5]],
    "uneven": [[4, 0, 1, 5], [2], [3]],
    "an empty rank": [[0, 1, 2, 3, 4, 5], []],
    "a share of padding": [[0, 1, 2, 3], [4, 5]],
}
MODELS = {
    "mask": {"tasks": tiny.ALL_TASKS},
    "uto, soft": {
        "tasks": {"itc": {"fn_policy": "unicon"}, "uto": {"fn_policy": "soft", "batch_weight": 1, "mu": 10}},
        "text": {"kind": "bigru", "length": 8, "word_dim": 6, "width": 5},
        "text_enhance": [{"kind": "self_guided"}],
        "pooling": {"kind": "gpo", "position_dim": 4, "hidden": 3},
    },
    "uto, none": {"tasks": {"itc": None, "uto": {"fn_policy": "none", "batch_weight": 1, "mu": 3}}},
    "soft, distilled": {
        "tasks": {"itc": {"fn_policy": "soft", "distillation": {"alpha": 0.4, "ramp": 20}}},
        "head": {"kind": "mlp", "hidden": 8},
    },
    "recap": {
        "tasks": {
            "itc": {"i2t_weight": 0.4},
            "lm": {"decoder": tiny.FUSION, "bridge": 0.5, "distillation": {"alpha": 0.4, "ramp": 20}},
            "cons": {},
            "anchor": {"attribute": 0, "n_min": 2},
        },
        "image_enhance": [{"kind": "residual_attention", "heads": 2}],
        "text_enhance": [{"kind": "residual_mask", "heads": 2}],
        "queue": {"size": 10, "refresh": {"every": 2}},
    },
    "none, short queue": {
        "tasks": {"itc": {"fn_policy": "none"}, "lm": {"decoder": tiny.FUSION}},
        "queue": {"size": 4},
    },
    "SCAN, constraints between samples": {
        "tasks": {
            "itc": None,
            "triplet": {},
            "ccr": {"weight": 1},
            "ccs": {"weight": 1, "source": "inter", "mining": "random"},
        },
        **tiny.FOUR_REGIONS,
        "matcher": {"kind": "scan", "width": 8, "max_entries": 100},
    },
    "SCAN from regions to words": {
        "tasks": {"itc": None, "triplet": {}, "ccr": {"weight": 1, "reverse": "bottom_mass", "held": 0.5}},
        **tiny.FOUR_REGIONS,
        "matcher": {"kind": "scan", "direction": "i2t", "width": 8},
    },
    "PFAN": {
        "tasks": {"itc": None, "triplet": {}, "ccs": {"weight": 1}},
        **tiny.FOUR_REGIONS,
        "matcher": {"kind": "pfan", "width": 8, "position_width": 6},
    },
    "BFAN, all negatives, constraints within pairs": {
        "tasks": {"itc": None, "triplet": {"mining": "all"}, "ccs": {"swap": "both", "source": "inter"}, "entropy": {}},
        **tiny.FOUR_REGIONS,
        "matcher": {"kind": "bfan", "width": 8, "reduction": "mean", "lambda_softmax": 4},
    },
    "SGRAF": {
        "tasks": {"itc": {}, "triplet": {"fn_policy": "none"}},
        **tiny.FOUR_REGIONS,
        "matcher": {"kind": "sgraf", "width": 8, "similarity_width": 6},
    },
    "SAF, batch norms": {
        "tasks": {"itc": None, "triplet": {}},
        **tiny.FOUR_REGIONS,
        "matcher": {
            "kind": "sgraf",
            "module": "saf",
            "norm": "batch",
            "regions": 4,
            "width": 8,
            "similarity_width": 6,
            "max_entries": 100,
        },
    },
    "fusion encoder, constraints": {
        "tasks": {"itc": {}, "itm": {"fusion": tiny.FUSION}, "ccr": {}, "ccs": {"source": "inter"}},
        **tiny.FOUR_REGIONS,
        "matcher": {"kind": "fusion"},
    },
}
STEEP = {name for name, model in MODELS.items() if "uto" in model["tasks"]}
"""UTO multiplies cosines by mu = 90, and with them their rounding, which then grows from step to step: its weights
stay, so that every step is a first one. Of all others, steps after the first may differ by 1e-5."""


def global_batch(step: int, side: int = 16) -> Batch:
    """Every third row shares its event, two rows are of one species, and the last batch is padded."""
    codes = torch.tensor([[1], [1], [2], [3], [4], [5]], dtype=torch.int32).expand(-1, tiny.ATTRIBUTES)
    valid = torch.arange(ROWS) < (ROWS if (step + 1) % STEPS else ROWS - 2)
    events = torch.tensor([1, -1, 2, 1, -1, 2])
    return tiny.batch(ROWS, step=step, side=side, image_codes=codes, text_codes=codes, sequence_id=events, valid=valid)


def padding(step: int, side: int = 16) -> Batch:
    """The second batch has no row that counts."""
    whole = global_batch(step, side)
    return replace(whole, valid=whole.valid & (step != 1))


def alike(step: int, side: int = 16) -> Batch:
    """Every row says and shows what every other does, so that there is no negative."""
    whole = global_batch(step, side)
    codes = torch.ones_like(whole.image_codes)
    return replace(whole, image_codes=codes, text_codes=codes, caption_id=torch.zeros_like(whole.caption_id))


def run(
    split: list[list[int]],
    settings: dict[str, Any],
    rate: float = 0.05,
    batch: Callable[[int, int], Batch] = global_batch,
    steps: int = STEPS,
) -> list[dict[str, Tensor]]:
    """Losses, gradients, statistics of norms and queue after every step, as this rank sees them. `rate`: learning
    rate; `batch` makes a step's batch of images of a side."""
    built = tiny.model(**settings)
    if isinstance(built.host, Matcher):  # it divides by norms that can be near 0 in a tiny model
        built.query, built.host = built.query.double(), built.host.double()
    wrapped = DistributedDataParallel(built, forward_sync_buffers=False) if dist.is_initialized() else built
    optimizer = torch.optim.SGD(built.parameters(), rate)
    mine, trace = torch.tensor(split[distributed.rank()], dtype=torch.int64), []
    for step in range(steps):
        losses = wrapped(tiny.rows_of(batch(step, built.settings.image.image_size), mine))  # pyright: ignore
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        told = {name: one.detach() for name, one in (losses | built.figures).items()}
        means = {name: distributed.sum_across(one) / distributed.world_size() for name, one in told.items()}
        gradient = torch.cat([one.grad.flatten() for one in built.parameters() if one.grad is not None])
        optimizer.step()
        built.after_step(step)
        queue = {f"queue/{name}": column.clone() for name, column in built.queue.state().items()}
        statistics = {name: one.clone() for name, one in built.named_buffers() if "running_" in name}
        trace.append(means | {"gradient": gradient} | statistics | queue)
    return trace


HOSTS_ON = ("uneven", "an empty rank", "a share of padding")
"""Splits for hosts: they are slow, and share with the other tasks what lies between ranks."""
CASES = [(name, kind) for name in SPLITS for kind in MODELS if "matcher" not in MODELS[kind] or name in HOSTS_ON]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_workers_change_nothing(world: World, name: str, kind: str) -> None:
    same_on_workers(world, SPLITS[name], kind, global_batch)


@pytest.mark.parametrize("batch", [padding, alike])
@pytest.mark.parametrize("kind", MODELS)
def test_rows_without_a_pair_change_nothing_either(world: World, kind: str, batch: Callable[[int, int], Batch]) -> None:
    """A task whose rows all have nothing to compare with gives a finite loss and gradients, with two workers as with
    one: what is no number is equal to nothing."""
    same_on_workers(world, SPLITS["two"], kind, batch)


def same_on_workers(world: World, split: list[list[int]], kind: str, batch: Callable[[int, int], Batch]) -> None:
    settings, rate = MODELS[kind], 0.0 if kind in STEEP else 0.05
    alone = run(SPLITS["one"], settings, rate, batch)
    ranks = world.run(len(split), run, split, settings, rate, batch)
    for rank in ranks:
        for step, (found, wanted) in enumerate(zip(rank, alone, strict=True)):
            for column in wanted:
                bound = 1e-6 if step == 0 and kind not in STEEP else 1e-5
                bound *= max(1.0, wanted[column].double().norm().item())
                assert (found[column].double() - wanted[column].double()).norm() <= bound, (step, column)
            assert all(torch.equal(found[n], ranks[0][step][n]) for n in wanted if n.startswith("queue/")), step


@pytest.mark.parametrize("name", ["two", "three"])
def test_twenty_steps_are_those_of_one_worker(world: World, name: str) -> None:
    """At a rate at which a step does not multiply the rounding of those before it."""
    arguments = (MODELS["mask"], 0.005, global_batch, 20)
    alone = run(SPLITS["one"], *arguments)
    for rank in world.run(len(SPLITS[name]), run, SPLITS[name], *arguments):
        for step, (found, wanted) in enumerate(zip(rank, alone, strict=True)):
            for task in ("itc", "itm", "lm"):
                assert found[task].item() == pytest.approx(wanted[task].item(), rel=1e-5, abs=1e-5), (step, task)
            assert all(torch.equal(found[n], wanted[n]) for n in ("queue/sample_id", "queue/valid")), step


@pytest.mark.parametrize("name", ["two", "three"])
def test_with_dropout_the_same_rows_are_stored(world: World, name: str) -> None:
    """Which numbers fall out is each worker's own draw, so losses differ and what is stored of whom does not."""
    settings = MODELS["mask"] | {"image": tiny.SETTINGS["image"] | {"dropout": 0.3}}
    alone = run(SPLITS["one"], settings)
    ranks = world.run(len(SPLITS[name]), run, SPLITS[name], settings)
    for rank in ranks:
        for found, wanted in zip(rank, alone, strict=True):
            exact = [n for n in wanted if n.startswith("queue/") and not wanted[n].is_floating_point()]
            assert len(exact) >= 7 and all(torch.equal(found[n], wanted[n]) for n in exact)
    assert ranks[0][0]["itc"] != alone[0]["itc"]


def part(split: list[list[int]], settings: dict[str, Any], folder: str, begin: int, end: int) -> dict[str, Tensor]:
    """Steps `begin` to `end` on these workers, from the checkpoint in `folder` and into it; weights and queue then."""
    built = tiny.model(**settings)
    optimizer = torch.optim.SGD(built.parameters(), 0.05, momentum=0.9)
    if begin:
        assert checkpoint.restore(folder, model=built, optimizer=optimizer)["step"] == begin
        checkpoint.restore_rng(folder, distributed.rank(), distributed.world_size())
    wrapped = DistributedDataParallel(built, forward_sync_buffers=False) if dist.is_initialized() else built
    mine = torch.tensor(split[distributed.rank()], dtype=torch.int64)
    for step in range(begin, end):
        losses = wrapped(tiny.rows_of(global_batch(step), mine))
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        built.after_step(step)
    rng, queue = distributed.gather_objects([checkpoint.rng_state()]), built.queue.state()
    if distributed.rank() == 0:
        texts = {"recipe_yaml": "", "attributes_json": "{}", "wordpiece": tiny.wordpiece()}
        states = [state for one in rng for state in one]
        held = {"model": built, "queue": queue, "optimizer": optimizer}
        checkpoint.save(folder, **held, state={"step": end}, rng=states, **texts)  # pyright: ignore
    queue = {f"queue/{name}": column for name, column in queue.items()}
    return {name: one.detach().clone() for name, one in (built.state_dict() | queue).items()}


@pytest.mark.parametrize("kind", ["mask", "recap"])
def test_a_run_resumed_on_more_workers_is_the_run_that_never_stopped(world: World, kind: str, tmp_path: Path) -> None:
    """Two workers, a checkpoint within a window of the refresh, three workers: queue rows, averages and weights."""
    alone = part(SPLITS["one"], MODELS[kind], str(tmp_path / "alone"), 0, STEPS)
    folder = str(tmp_path / "resumed")
    world.run(2, part, SPLITS["two"], MODELS[kind], folder, 0, 1)
    ranks = world.run(3, part, SPLITS["three"], MODELS[kind], folder, 1, STEPS)
    for found in ranks:
        for name, wanted in alone.items():
            bound = 1e-5 * max(1.0, wanted.double().norm().item())
            assert (found[name].double() - wanted.double()).norm() <= bound, name
    exact = [name for name in alone if name.startswith("queue/") and not alone[name].is_floating_point()]
    assert len(exact) >= 7 and all(torch.equal(found[name], alone[name]) for found in ranks for name in exact)
    assert all(torch.equal(found[name], ranks[0][name]) for found in ranks for name in alone)


def test_the_batches_above_exercise_what_they_should() -> None:
    recap = run(SPLITS["one"], MODELS["recap"])
    assert recap[0]["anchor"] == 0 and recap[-1]["anchor"] > 0
    assert abs(recap[0]["cons"]) < 1e-6 < 1e-5 < recap[-1]["cons"]
    trace = run(SPLITS["one"], MODELS["mask"])
    assert all(step["itm"] > 0 and step["lm"] > 0 and step["itc"] > 0 for step in trace)
    assert int(trace[-1]["queue/total"]) == ROWS * STEPS - 2
