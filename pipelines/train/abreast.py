"""Whether the workers of a group keep abreast: their paces, their clocks, their random generators.

They take every step together, so that the slowest sets the pace of all and nobody's own step takes longer than
another's. What differs is how long each is busy before its first exchange of a step: it waits for its batch, then
encodes it. Both are summed up on each worker and compared where the workers compare what they hold anyway, so that a
step costs two readings of a clock and no collective.
"""

import hashlib
import socket
import time
from collections.abc import Callable
from statistics import median_low
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from xmodal import distributed
from xmodal.model import CrossModalModel

BEHIND = 1.5
"""Times the median worker's seconds from which a worker is told of as far behind."""
NOTICED = 0.1
"""Least share of a step that it must be behind by: of less nobody would feel anything."""
LEAST_STEPS = 10
"""Steps that a comparison of paces is over, at least."""
CLOCKS_APART = 5.0
"""Seconds between two workers' clocks from which they are told of."""


class Pace(NamedTuple):
    """What a worker tells of itself."""

    host: str
    wait: float
    """Seconds a step for the next batch."""
    encoding: float
    """Seconds a step of the query encoder's forward pass, before which nothing is exchanged."""

    @property
    def busy(self) -> float:
        return self.wait + self.encoding


class HostWatch:
    """Moments of a model on the CPU."""

    def now(self) -> float:
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        """Seconds."""
        return end - start


class DeviceWatch:
    """Moments of a model on a GPU, which is behind its host: read when it has come there."""

    def now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Seconds."""
        end.synchronize()
        return start.elapsed_time(end) / 1000


class Abreast:
    """One worker's part in the comparisons. `tell` is called on the first worker, once for each host and matter."""

    def __init__(self, model: CrossModalModel, tell: Callable[[str], Any]):
        """`model` lies on the device that it is trained on, its random generators are where training begins."""
        self.watch: Any = DeviceWatch() if model.temperature.value.device.type == "cuda" else HostWatch()
        self.tell, self.told = tell, set[tuple[str, str]]()
        self.may_draw, self.generators = draws(model), generators()
        self.marks: list[Any] = []
        self.warm = False
        self._begin()
        model.register_forward_pre_hook(self._mark)
        model.query.text.register_forward_hook(self._mark_second)

    def _begin(self) -> None:
        self.steps, self.wait, self.seconds = 0, 0.0, 0.0
        self.marks.clear()

    def _mark(self, *_: Any) -> None:
        self.marks.append(self.watch.now())

    def _mark_second(self, *_: Any) -> None:
        """Texts are encoded last; other passes than a step's, as of the validation, begin with no first mark."""
        if len(self.marks) % 2:
            self._mark()

    def step(self, wait: float, seconds: float) -> None:
        """Counts a step of `seconds`, `wait` of them for its batch. The first one, in which all gets going, is left
        out."""
        if not self.warm:
            self.warm = True
            return self._begin()
        self.steps, self.wait, self.seconds = self.steps + 1, self.wait + wait, self.seconds + seconds

    def compare(self) -> dict[str, float]:
        """All workers at once: what is amiss is told; returns how many times the median worker's seconds the slowest
        takes, where there are steps enough to say so."""
        moved = self._moved()
        for host in sorted({host for host, drew in distributed.gather_objects((socket.gethostname(), moved)) if drew}):
            self._tell("draws", host, _drawn(host))
        clocks = distributed.gather_objects((time.time(), socket.gethostname()))  # read when all have come here
        (first, slow), (last, fast) = min(clocks), max(clocks)
        if last - first > CLOCKS_APART:
            self._tell("clock", slow, _clocks(fast, slow, last - first))
        return self._paces() if self.steps >= LEAST_STEPS else {}

    def _moved(self) -> bool:
        """Whether a random generator moved although nothing of the model draws."""
        before, self.generators = self.generators, generators()
        return not self.may_draw and before != self.generators

    def _paces(self) -> dict[str, float]:
        spans = [self.watch.between(*pair) for pair in zip(self.marks[::2], self.marks[1::2], strict=False)]
        own = Pace(socket.gethostname(), self.wait / self.steps, sum(spans) / self.steps)
        paces, step = distributed.gather_objects(own), self.seconds / self.steps
        self._begin()
        slowest, usual = max(paces, key=lambda pace: pace.busy), median_low(pace.busy for pace in paces)
        ratio = slowest.busy / max(usual, 1e-9)
        if ratio > BEHIND and slowest.busy - usual > NOTICED * step:
            self._tell("pace", slowest.host, _behind(paces.index(slowest), slowest, ratio))
        return {"time/slowest_worker": ratio}

    def _tell(self, matter: str, host: str, text: str) -> None:
        if distributed.rank() == 0 and (matter, host) not in self.told:
            self.told.add((matter, host))
            self.tell(text)


def check_drawn_alike(model: CrossModalModel) -> None:
    """Raises Diverged on every worker where they did not draw the same first weights: another version of torch may
    draw others, and key encoder and queue are never sent around."""
    digest = hashlib.sha256(generators()[0]).digest()  # its words add up to the same when it moves by a few draws
    drawn = {"the state of torch's random generator": torch.frombuffer(bytearray(digest), dtype=torch.uint8)}
    distributed.check_alike(model.replicated() | drawn)


def draws(model: nn.Module) -> bool:
    """Whether anything in `model` draws from torch's generators as it trains: dropout, by whatever name."""
    settings = ((module, *item) for module in model.modules() for item in vars(module).items())
    return any(
        isinstance(value, float) and value > 0 and ("drop" in name or isinstance(module, _DropoutNd))
        for module, name, value in settings
    )


def generators() -> list[bytes]:
    """States of torch's generators: of the CPU, and of the device in use."""
    states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])
    return [state.numpy().tobytes() for state in states]


def _behind(rank: int, pace: Pace, ratio: float) -> str:
    return (
        f"worker {rank} on {pace.host} takes {ratio:.1f} times as long as the median worker before all can go on: "
        f"{pace.wait * 1000:.0f} ms a step for its batch, {pace.encoding * 1000:.0f} ms to encode it; the whole group "
        "goes at its pace"
    )


def _clocks(fast: str, slow: str, seconds: float) -> str:
    return (
        f"the clock of {fast} is {seconds:.0f} s ahead of that of {slow}: times in curves and logs are off by it, and "
        "a store refuses what is signed a quarter of an hour off"
    )


def _drawn(host: str) -> str:
    return (
        f"torch's random generator moved on {host} though nothing of the model drops out: something draws by worker "
        "and not by sample, so results depend on the number of workers"
    )
