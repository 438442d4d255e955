"""What a step's keys cost to bring together: one packed gather against one for each of four columns, as ALBEF and MoCo
gather them (a list of tensors by all_gather, then put together), between processes of this machine by gloo."""

import functools
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from tests.bench.frame import Comparison, Measured, Side, compare
from tests.xmodal.world import World
from xmodal.distributed import Gatherer, rank

RANKS, ROWS, WIDTH, CALLS = (2, 4), 64, 256, 50
NAMES = "one packed gather", "a gather for each of four columns"


def columns() -> dict[str, Tensor]:
    """Keys of both sides and two ids of ROWS local rows."""
    generator = torch.Generator().manual_seed(rank())
    keys = {name: torch.randn(ROWS, WIDTH, generator=generator) for name in ("image", "text")}
    return keys | {name: torch.arange(ROWS) + ROWS * rank() for name in ("sample_id", "caption_id")}


def packed(gatherer: Gatherer, mine: dict[str, Tensor]) -> dict[str, Tensor]:
    slot = torch.arange(ROWS) + ROWS * rank()
    return gatherer(slot, mine, []).columns


def one_by_one(mine: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, column in mine.items():
        parts = [torch.ones_like(column) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, column)
        found[name] = torch.cat(parts)
    return found


def pairs() -> list[tuple[Measured, Measured]]:
    """Of this process, in a group all of which do the same."""
    mine, gatherer = columns(), Gatherer()
    ours, theirs = functools.partial(packed, gatherer, mine), functools.partial(one_by_one, mine)
    assert all(torch.equal(one, theirs()[name]) for name, one in ours().items())
    return compare("", "gather", Side(NAMES[0], _times(ours)), Side(NAMES[1], _times(theirs))).pairs


def _times(act: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        for _ in range(CALLS):
            act()
        return CALLS

    return run


def comparisons() -> Iterator[Comparison]:
    """As the first process of each group saw it."""
    for ranks in RANKS:
        world = World(ranks)
        try:
            title = f"keys of {ROWS} rows a process, {WIDTH} numbers each, {ranks} processes"
            ours, theirs = (Side(name, lambda: 0.0) for name in NAMES)
            yield Comparison(title, "gather", ours, theirs, world.run(ranks, pairs)[0])
        finally:
            world.close()
