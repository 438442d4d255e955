"""The frame: two sides of the same work, run in turn in one process group, compared pair by pair.

Figures are ratios with their spread, because absolute times of a shared machine say little. CPU seconds count the
process and the children it has waited for; wall seconds are printed beside them.
"""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Side:
    """One way of doing the work. `run` does it once and returns how many units it did."""

    name: str
    run: Callable[[], int]


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of one run."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Comparison:
    """Interleaved runs of ours and the reference, pair by pair."""

    title: str
    unit: str
    ours: Side
    reference: Side
    pairs: list[tuple[Timing, Timing]]

    def lines(self) -> list[str]:
        """What to print: each side's median, then the ratio ours / reference of each measure."""
        sides = [(self.ours.name, [a for a, _ in self.pairs]), (self.reference.name, [b for _, b in self.pairs])]
        text = [f"{self.title}  ({len(self.pairs)} interleaved pairs)"]
        text += [
            f"  {name:<34} {_median(runs, 'cpu')} CPU, {_median(runs, 'wall')} wall per {self.unit}"
            for name, runs in sides
        ]
        return text + [
            f"  ratio ours / reference, {measure:<4}        {_spread(self.ratios(measure))}"
            for measure in ("cpu", "wall")
        ]

    def ratios(self, measure: str) -> list[float]:
        return [getattr(ours, measure) / getattr(reference, measure) for ours, reference in self.pairs]


def compare(title: str, unit: str, ours: Side, reference: Side, repeats: int = 5) -> Comparison:
    """Runs each side once unmeasured, then `repeats` times in turn; the order within a pair alternates."""
    ours.run(), reference.run()
    pairs = []
    for repeat in range(repeats):
        if repeat % 2:
            second = measured(reference)
            pairs.append((measured(ours), second))
        else:
            pairs.append((measured(ours), measured(reference)))
    return Comparison(title, unit, ours, reference, pairs)


def measured(side: Side) -> Timing:
    """One run, per unit of work."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    units = side.run()
    return Timing((cpu_seconds() - cpu) / units, (time.perf_counter() - wall) / units)


def cpu_seconds() -> float:
    """User and system time of this process and of the children it has waited for."""
    every = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in every)


def _median(runs: list[Timing], measure: str) -> str:
    return f"{statistics.median(getattr(run, measure) for run in runs) * 1e3:9.2f} ms"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}  ({min(values):.2f} to {max(values):.2f})"


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
