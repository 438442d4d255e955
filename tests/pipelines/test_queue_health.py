"""Drift and leak as training logs them: right, the same on every worker, and without a trace."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipelines.train.queue_health import queue_health
from tests.xmodal import tiny
from tests.xmodal.world import World
from xmodal import distributed
from xmodal.model import CrossModalModel


def trained(steps: int = 4, rows: list[int] | None = None, size: int = 20, **queue: Any) -> tuple[CrossModalModel, Any]:
    built = tiny.model(queue={"size": size, **queue}, momentum={"coefficient": 0.5})
    optimizer = torch.optim.SGD(built.parameters(), 0.5)
    for step in range(steps):
        given = tiny.rows_of(tiny.batch(6, step=step), torch.tensor(rows or range(6)))
        loss = built(given)["itc"]
        optimizer.zero_grad()
        (0 * loss).backward()
        with torch.no_grad():  # the same movement at any world size, without gradients to average
            for one in built.query.parameters():
                one.add_(0.05 * torch.sin(torch.arange(one.numel()).float() + step).view_as(one))
        built.after_step(step)
    return built, given


def test_drift_is_of_the_keys_that_the_step_stored_and_the_key_encoder_now() -> None:
    """And so one movement of the key encoder: older keys, which drifted further, do not count."""
    built, given = trained()
    rows, steps = built.queue.ordered()
    towers = built.key.encoder
    now = towers.image_vectors(towers.image(given.image))
    wanted = (1 - (rows.image[steps == 3].double() * now.double()).sum(1)).mean()
    assert wanted > 1e-5
    assert queue_health(built, given)["queue/drift"] == pytest.approx(float(wanted), rel=1e-2)
    first = tiny.batch(6, step=0)
    older = 1 - (rows.image[steps == 0] * towers.image_vectors(towers.image(first.image))[-2:]).sum(1)
    assert older.min() > 1.5 * wanted


def test_nothing_of_the_model_changes() -> None:
    built, given = trained()
    before = {**built.state_dict(), **{f"q {name}": one.clone() for name, one in built.queue.state().items()}}
    state, mode = torch.get_rng_state(), built.training
    queue_health(built, given)
    after = {**built.state_dict(), **{f"q {name}": one for name, one in built.queue.state().items()}}
    assert all(torch.equal(after[name], one) for name, one in before.items())
    assert torch.equal(torch.get_rng_state(), state) and built.training is mode


def test_what_cannot_be_told_is_left_out() -> None:
    assert queue_health(*trained(size=0)) == {}
    assert queue_health(*trained(steps=1)).keys() == {"queue/drift"}
    assert queue_health(*trained()).keys() == {"queue/drift", "queue/leak_image", "queue/leak_text"}


def health(split: list[list[int]], **queue: Any) -> dict[str, float]:
    return queue_health(*trained(rows=split[distributed.rank()], **queue))


def health_of_shares(split: list[list[int]]) -> dict[str, float]:
    return health(split, sharded=True)


@pytest.mark.parametrize("measured", [health, health_of_shares])
def test_workers_change_nothing(world: World, measured: Callable[..., dict[str, float]]) -> None:
    alone = health([list(range(6))])
    for split in ([[0, 2, 4], [1, 3, 5]], [[5, 0, 1, 2], [3], [4]]):
        ranks = world.run(len(split), measured, split)
        assert all(found == ranks[0] for found in ranks)
        assert all(math.isclose(ranks[0][name], value, rel_tol=1e-2) for name, value in alone.items())


def test_keys_stored_as_bfloat16_are_measured_too() -> None:
    alone, halved = health([list(range(6))]), health([list(range(6))], keys="bf16")
    assert halved["queue/drift"] == pytest.approx(alone["queue/drift"], rel=1e-2) and halved.keys() == alone.keys()
