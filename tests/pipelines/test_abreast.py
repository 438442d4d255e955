"""Workers that fall behind, clocks that differ and generators that move are told of; in real groups of processes."""

import socket
import time
from typing import Any
from unittest.mock import patch

import pytest
import ray
import torch
from torch.nn.parallel import DistributedDataParallel

from pipelines.train.abreast import LEAST_STEPS, Abreast, check_drawn_alike, draws
from pipelines.train.board import shown_progress
from tests.xmodal import tiny
from tests.xmodal.world import World
from xmodal import distributed

Told = tuple[dict[str, float], list[str]]


def trained(slow: dict[int, float], steps: int = LEAST_STEPS + 1, waits: dict[int, float] | None = None) -> list[Told]:
    """What two comparisons give and tell, after `steps` steps in a group whose rank r encodes for `slow[r]` seconds
    more and is told to have waited `waits[r]` seconds for each batch."""
    built, lines, found = tiny.model(), list[str](), list[Told]()
    rank, rows = distributed.rank(), torch.arange(distributed.rank(), 6, distributed.world_size())
    built.query.image.register_forward_pre_hook(lambda *_: time.sleep(slow.get(rank, 0.0)))
    abreast, model = Abreast(built, lines.append), DistributedDataParallel(built, forward_sync_buffers=False)
    for _ in range(2):
        for step in range(steps):
            begun, wait = time.monotonic(), (waits or {}).get(rank, 0.0)
            losses = model(tiny.rows_of(tiny.batch(6, step=step), rows))
            torch.stack(list(losses.values())).sum().backward()
            built.encode_text(*(getattr(tiny.batch(2), name) for name in ("text", "text_mask")))  # no step's pass
            built.after_step(step)
            abreast.step(wait, time.monotonic() - begun + wait)
        found.append((abreast.compare(), list(lines)))
    return found


def test_a_worker_far_behind_is_named_once_with_what_it_does_meanwhile(world: World) -> None:
    first, others = world.run(2, trained, {1: 0.1})
    for metrics, lines in first:
        assert metrics["time/slowest_worker"] > 1.5
        (line,) = lines
        assert line.startswith(f"worker 1 on {socket.gethostname()} takes ") and "0 ms a step for its batch" in line
        assert 100 <= int(line.split(" ms to encode")[0].split()[-1]) < 1000
    assert all(not lines for _, lines in others), "the first worker speaks for all"


def test_so_is_one_that_waits_for_its_batches(world: World) -> None:
    metrics, (line,) = world.run(2, trained, {}, LEAST_STEPS + 1, {0: 2.0})[0][0]
    assert metrics["time/slowest_worker"] > 1.5 and line.startswith("worker 0 on") and "2000 ms a step for its" in line


def test_workers_abreast_are_not_told_of_and_few_steps_say_nothing(world: World) -> None:
    (metrics, lines), _ = world.run(2, trained, {0: 0.1, 1: 0.1})[0]
    assert 1 <= metrics["time/slowest_worker"] < 1.5 and not lines
    assert world.run(2, trained, {1: 0.1}, 4)[0][0] == ({}, []), "the first step counts nowhere"


def hours(ahead: dict[int, float]) -> list[str]:
    """What is told where rank r's clock is `ahead[r]` seconds off."""
    lines, real = list[str](), time.time
    with patch("time.time", lambda: real() + ahead.get(distributed.rank(), 0.0)):
        abreast = Abreast(tiny.model(), lines.append)
        time.sleep(0.3 * distributed.rank())  # who comes late has no other clock
        assert abreast.compare() == {} and abreast.compare() == {}
    return lines


@pytest.mark.parametrize("ahead", [{}, {1: 4.0}, {0: -30.0}, {1: 30.0}])
def test_clocks_that_differ_are_told_of_once(world: World, ahead: dict[int, float]) -> None:
    lines = world.run(2, hours, ahead)[0]
    assert len(lines) == (30.0 in map(abs, ahead.values()))
    assert all(f"the clock of {socket.gethostname()} is 30 s ahead of" in line for line in lines)


def drawn(odd: dict[int, int], changes: dict[str, Any]) -> tuple[list[str], bool]:
    """What is told where rank r drew `odd[r]` numbers from torch's generator."""
    lines, model = list[str](), tiny.model(**changes)
    abreast = Abreast(model, lines.append)
    torch.rand(odd.get(distributed.rank(), 0))
    abreast.compare()
    return lines, draws(model)


def begun(seeds: dict[int, int], more: dict[int, int]) -> str:
    """What is said of models of these seeds, where rank r then drew `more[r]` numbers."""
    model = tiny.model(seeds.get(distributed.rank(), 0))
    torch.rand(more.get(distributed.rank(), 0))
    try:
        check_drawn_alike(model)
    except distributed.Diverged as error:
        return str(error)
    return ""


def test_workers_that_begin_with_other_draws_are_stopped(world: World) -> None:
    assert world.run(2, begun, {}, {}) == ["", ""]
    assert all(line.startswith("key.") for line in world.run(2, begun, {1: 7}, {}))
    assert all(line.startswith("the state of torch's random") for line in world.run(2, begun, {}, {1: 3}))


DROPOUT = {"image": tiny.SETTINGS["image"] | {"dropout": 0.1}}


def test_a_draw_that_no_sample_keys_is_told_of(world: World) -> None:
    assert world.run(2, drawn, {}, {})[0] == ([], False)
    (line,), _ = world.run(2, drawn, {1: 3}, {})[0]
    assert "something draws by worker and not by sample" in line
    assert world.run(2, drawn, {1: 3}, DROPOUT)[0] == ([], True), "dropout draws, by worker"


def test_steps_draw_nothing(world: World) -> None:
    assert all(not lines for _, lines in world.run(2, trained, {}, 3)[0])


@pytest.mark.ray
def test_what_a_worker_tells_is_printed_by_the_driver(ray_cluster: str, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(10) as board:
        ray.get(board.tell.remote("worker 1 on there is behind"))
    assert capsys.readouterr().err.count("warning: worker 1 on there is behind\n") == 1
