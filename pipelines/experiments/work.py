"""Missing rows, several at a time: each process trains one run after the other, and takes the next that may begin."""

import math
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice, zip_longest
from multiprocessing import get_context

import torch

from pipelines.experiments.rows import Rows
from pipelines.progress import Progress


@dataclass(frozen=True)
class Missing:
    """A run without a row: position of its table and names of the rest."""

    table: int
    arm: str
    trial: int
    seed: int
    split: str


def work(found: list[Rows], processes: int, seconds: float = math.inf) -> int:
    """Makes rows until none is missing; begins none after `seconds`. Returns how many were made; raises what a run
    raised, after those beside it have ended."""
    end, total = time.monotonic() + seconds, sum(one.absent() for one in found)
    running: dict[Future[str], Missing] = {}
    made = 0
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (found,))
    with pool, Progress("experiments", total=total, unit="runs") as shown:
        while True:
            free = processes - len(running) if time.monotonic() < end else 0
            for one in _next(found, set(running.values()), free):
                running[pool.submit(_run, one)] = one
            if not running:
                return made
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                del running[done]
                made += 1
                shown.console.print(done.result(), highlight=False)
                shown.update(made)


def _next(found: list[Rows], begun: set[Missing], free: int) -> list[Missing]:
    """Up to `free` runs to begin: all tables in turn, within a table in the order of need."""
    in_turn = zip_longest(*(missing(number, rows) for number, rows in enumerate(found)))
    waiting = (one for turn in in_turn for one in turn if one is not None and one not in begun)
    return list(islice(waiting, free))


def missing(number: int, rows: Rows) -> Iterator[Missing]:
    """Runs without a row, the first seeds of all arms before the second ones. A test row is asked for once the arm's
    trials have their rows, which choose it."""
    table = rows.table
    for seed in range(table.seeds):
        for arm in table.arms:
            for trial in range(len(table.trials)):
                if seed == 0 and rows.found(arm, trial, 0, "val") is None:
                    yield Missing(number, arm.name, trial, 0, "val")
            chosen = rows.chosen(arm)
            if chosen is not None and rows.found(arm, chosen, seed, "test") is None:
                yield Missing(number, arm.name, chosen, seed, "test")


_found: list[Rows] = []
"""Of this process: its tables keep what they have read."""


def _begin(found: list[Rows]) -> None:
    torch.set_num_threads(1)
    _found.extend(found)


def _run(one: Missing) -> str:
    rows = _found[one.table]
    row = rows.make(rows.table.arm(one.arm), one.trial, one.seed, one.split)
    told = f"{rows.table.name}: {one.arm}  {one.split}  trial {one.trial}  seed {one.seed}"
    return f"{told}  {rows.table.unit} {row.figure:.1f}  {row.seconds:.0f} s"
