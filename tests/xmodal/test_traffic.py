"""What is said of collectives and bytes is what really goes through torch.distributed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.xmodal import tiny
from tests.xmodal.world import World
from xmodal import distributed, traffic
from xmodal.traffic import Collective

ROWS, WORKERS = 3, 2
ITC: dict[str, Any] = {"itc": {"fn_policy": "soft"}}
MODELS: dict[str, Any] = {
    "whole": {"tasks": ITC, "queue": {"size": 10}},
    "sharded": {"tasks": ITC, "queue": {"size": 10, "sharded": True}},
    "bfloat16, an odd number of them": {"tasks": ITC, "queue": {"size": 10, "keys": "bf16"}, "embed_dim": 7},
    "UTO": {"tasks": {"itc": None, "uto": {}}, "queue": {"size": 10}},
    "all that a sharded queue can do": {
        "tasks": {"itc": {"fn_policy": "unicon"}, "uto": {}},
        "queue": {"size": 10, "sharded": True, "refresh": {"every": 3}},
    },
    "UTO on the sharded queue alone": {
        "tasks": {"itc": None, "uto": {"batch_weight": 0}},
        "queue": {"size": 10, "sharded": True},
    },
}


def bytes_of(handed: Tensor) -> int:
    return handed.numel() * handed.element_size()


def counted(settings: dict[str, Any]) -> list[list[tuple[str, int]]]:
    """What this rank hands over in each of three steps: forward, backward, and what comes after a step."""
    built, seen = tiny.model(**settings), list[tuple[str, int]]()
    gather: Callable[..., Any] = dist.all_gather
    reduce: Callable[..., Any] = dist.all_reduce

    def all_gather(parts: list[Tensor], one: Tensor) -> None:
        seen.append(("all_gather", bytes_of(one)))
        gather(parts, one)

    def all_reduce(one: Tensor) -> None:
        seen.append(("all_reduce", bytes_of(one)))
        reduce(one)

    dist.all_gather, dist.all_reduce = all_gather, all_reduce  # pyright: ignore
    try:
        steps = []
        for step in range(3):
            mine = torch.arange(ROWS) + ROWS * distributed.rank()
            losses = built(tiny.rows_of(tiny.batch(ROWS * WORKERS, step=step), mine))
            torch.stack(list(losses.values())).sum().backward()
            built.after_step(step)
            steps.append(list(seen))
            seen.clear()
        return steps
    finally:
        dist.all_gather, dist.all_reduce = gather, reduce


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_said_is_what_goes_through(world: World, kind: str) -> None:
    settings = tiny.settings(**MODELS[kind])
    said = traffic.of_a_step(settings, tiny.ATTRIBUTES, WORKERS, ROWS)
    refresh = [(one.kind, one.handed) for one in traffic.of_a_refresh(settings, ROWS)]
    usual = sorted((one.kind, one.handed) for one in said)
    header = said[0].handed // (1 + ROWS)
    for first, second, third in world.run(WORKERS, counted, MODELS[kind]):
        assert sorted(first) == sorted([*usual, ("all_gather", header)])
        assert sorted(second) == usual and sorted(third) == sorted([*usual, *refresh])


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_said_to_be_held_is_held(kind: str) -> None:
    built = tiny.model(**MODELS[kind])
    keys, ages = built.queue.keys.columns().values(), built.queue.step_written
    assert traffic.held(built.settings, tiny.ATTRIBUTES, 1) == sum(map(bytes_of, keys)) + bytes_of(ages)


def test_a_ring_sends_every_share_past_every_worker() -> None:
    assert Collective("all_gather", 10).received(4) == 30 and Collective("all_reduce", 40).received(4) == 60


def row(rows: int, size: int, **queue: Any) -> str:
    """A line of the table in docs/performance.md: eight workers, D = 256, the 17 attributes of a prepared dataset."""
    settings = tiny.settings(embed_dim=256, queue={"size": size, **queue}, tasks={"itc": {}})
    said = traffic.of_a_step(settings, 17, 8, rows)
    kept = f"{'K / S' if settings.queue.sharded else 'K'}, {settings.queue.keys}"
    received, memory = sum(one.received(8) for one in said), traffic.held(settings, 17, 8)
    figures = (len(said), sum(one.handed for one in said), round(received), memory)
    return (
        f"| {rows:,} | {size:,} | {kept}, {settings.queue.keys} | " + " | ".join(f"{one:,}" for one in figures) + " |"
    )


KINDS: list[dict[str, Any]] = [{}, {"keys": "bf16"}, {"sharded": True}, {"sharded": True, "keys": "bf16"}]


@pytest.mark.parametrize(("rows", "size"), [(128, 65_536), (1_024, 65_536), (1_024, 1_048_576)])
def test_the_page_tells_these_figures(rows: int, size: int) -> None:
    page = Path("docs/performance.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert row(rows, size, **kind) in page
