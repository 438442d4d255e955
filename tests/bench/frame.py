"""The frame: two sides of the same work, run in turn in one process group, compared pair by pair.

Figures are ratios with their spread, because absolute times of a shared machine say little. CPU seconds count this
process and all below it; wall seconds are printed beside them. A side that has to start processes for each run also
names its start, which is measured by itself and taken off.
"""

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from tests.bench.processes import Meter, own_seconds

T = TypeVar("T")


def nothing() -> None:
    """The start of a side that has none."""


@dataclass(frozen=True)
class Side:
    """One way of doing the work. `run` does it once and returns how many units it did."""

    name: str
    run: Callable[[], float]
    start: Callable[[], object] = nothing
    """Does what every run pays before its first unit."""
    settle: Callable[[], object] = nothing
    """Returns when nothing that a run began is running; its CPU time counts, its wall time does not."""


@dataclass(frozen=True)
class Timing:
    """Seconds: of CPU everywhere, of CPU in this process alone, of the clock."""

    cpu: float
    own: float
    wall: float


@dataclass(frozen=True)
class Measured:
    """A run of `units` and the start it paid."""

    units: float
    whole: Timing
    start: Timing

    def beyond_start(self, measure: str) -> float:
        """Seconds per unit without the start's."""
        return (getattr(self.whole, measure) - getattr(self.start, measure)) / self.units

    def all_in(self, measure: str) -> float:
        """Seconds per unit, start included."""
        return getattr(self.whole, measure) / self.units


@dataclass(frozen=True)
class Comparison:
    """Interleaved runs of ours and the reference, pair by pair."""

    title: str
    unit: str
    ours: Side
    reference: Side
    pairs: list[tuple[Measured, Measured]]

    def lines(self) -> list[str]:
        """What to print: each side's medians, then the ratio ours / reference of each measure."""
        text = [f"{self.title}  ({len(self.pairs)} interleaved pairs)"]
        for side, runs in ((self.ours, [a for a, _ in self.pairs]), (self.reference, [b for _, b in self.pairs])):
            cpu, own, wall = (_median([run.beyond_start(name) for run in runs]) for name in ("cpu", "own", "wall"))
            spent = statistics.median(run.beyond_start("cpu") for run in runs)
            rate = f"; {1 / spent:.3g} a CPU second" if spent > 0 else ""
            text.append(f"  {side.name:<34} {cpu} CPU ({own} in this process), {wall} wall per {self.unit}{rate}")
        text += [f"  ratio ours / reference, {name:<5} {_spread(self.ratios(name))}" for name in ("cpu", "wall")]
        return text + (self._start_lines() if self.ours.start is not nothing else [])

    def _start_lines(self) -> list[str]:
        starts = [[run.start for run in runs] for runs in zip(*self.pairs, strict=True)]
        ours, reference = (
            " CPU, ".join(_median([getattr(start, name) for start in side]) for name in ("cpu", "wall"))
            for side in starts
        )
        units = self.pairs[0][0].units
        return [
            f"  start, taken off above: ours {ours} wall; reference {reference} wall",
            *(
                f"  ratio with the start of {units:g} units, {name:<5} {_spread(self.ratios(name, Measured.all_in))}"
                for name in ("cpu", "wall")
            ),
        ]

    def row(self) -> str:
        """The same as a line of `table`."""
        ratios = [_spread(self.ratios(measure)) for measure in ("cpu", "own", "wall")]
        spent = [_median([run.beyond_start("cpu") for run in side]) for side in zip(*self.pairs, strict=True)]
        return "| " + " | ".join([self.title, *ratios, *spent]) + " |"

    def ratios(self, measure: str, of: Callable[[Measured, str], float] = Measured.beyond_start) -> list[float]:
        """Ours / reference, pair by pair."""
        return [of(ours, measure) / (of(reference, measure) or math.nan) for ours, reference in self.pairs]


def compare(title: str, unit: str, ours: Side, reference: Side, repeats: int = 5) -> Comparison:
    """Runs each side once unmeasured, then `repeats` times in turn; the order within a pair alternates."""
    for side in (ours, reference):
        side.run()
        side.settle()
    pairs = []
    for repeat in range(repeats):
        if repeat % 2:
            second = measured(reference)
            pairs.append((measured(ours), second))
        else:
            pairs.append((measured(ours), measured(reference)))
    return Comparison(title, unit, ours, reference, pairs)


def measured(side: Side) -> Measured:
    """The side's start, then one run."""
    _, start = timed(side.start, side.settle)
    units, whole = timed(side.run, side.settle)
    return Measured(units, whole, start)


def timed(act: Callable[[], T], settle: Callable[[], object]) -> tuple[T, Timing]:
    """What `act` returns, and what it took until a GPU had done it too and `settle` returned."""
    with Meter() as meter:
        cpu, own, wall = meter.seconds(), own_seconds(), time.perf_counter()
        result = act()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        wall, own = time.perf_counter() - wall, own_seconds() - own
        settle()
        return result, Timing(meter.seconds() - cpu, own, wall)


def _median(seconds: list[float]) -> str:
    return f"{_digits(statistics.median(seconds) * 1e3)} ms"


def _spread(values: list[float]) -> str:
    return f"{_digits(statistics.median(values))}  ({_digits(min(values))} to {_digits(max(values))})"


def _digits(value: float) -> str:
    """Two decimals; two digits of what these would round away."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def show(comparisons: Iterable[Comparison]) -> None:
    """Prints the machine, each comparison once it is made, and all of them as a table in Markdown."""
    print(machine())
    made = []
    for comparison in comparisons:
        print("\n".join(comparison.lines()), flush=True)
        made.append(comparison)
    print("\n".join(table(made)))


def table(comparisons: Iterable[Comparison]) -> list[str]:
    """Ratios ours / reference of CPU everywhere, of CPU in the process that measures, and of the clock; CPU a unit."""
    head = "|  | ratio, CPU | ratio, CPU of this process | ratio, wall | ours, CPU | reference, CPU |"
    return [head, "|---" * 6 + "|", *(comparison.row() for comparison in comparisons)]


def machine() -> str:
    """The machine the figures are from, in one line."""
    model = next(
        (line.split(":")[1].strip() for line in _cpu_info() if line.startswith("model name")), platform.processor()
    )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} x {model}, {device}; Python {platform.python_version()}, torch {torch.__version__}"


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
