"""Moments of a training run, in which a process of it is held until the killing is done.

A step has its moments in the workers, a checkpoint in the first of them, Ray's snapshot and the deletion of old
checkpoints in Ray's controller, the result in the driver. The store that the run's job carries brings the fuse into
each of these processes: nothing of ours knows of it.
"""

import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.train.descent import Descent
from pipelines.train.runs import CHECKPOINT, SNAPSHOT
from tests.chaos.killing import kill
from xmodal.distributed import Gatherer

HELD, GONE_ON, DRIVER = "held", "gone-on", "driver"
"""Files in the folder of a case: pid of the process that is held; whether it may go on; pid of the driver."""
DEADLINE = 300.0
"""Seconds until a run is at its moment, and from there to its end."""
EVERY, STEPS = 3, 10
"""A checkpoint every three steps of ten: there are four, and the third makes one of the first two go."""


class Place(NamedTuple):
    """The `number`-th time that an operation of a process is at `phase` of `method` on a key like `key`."""

    method: str
    key: str
    phase: str
    number: int = 1


def _saved(step: int, file: str) -> str:
    return f"/{CHECKPOINT}{step:010d}/{file}$"


_SNAPSHOT, _RESULT, _OLD = f"/{SNAPSHOT}$", "/result.json$", f"/{CHECKPOINT}[0-9]*/"
PLACES = {
    "first_backward": Place("step", "backward", "in"),
    "backward": Place("step", "backward", "in", 5),
    "before_optimizer": Place("step", "optimizer", "in", 8),
    "gather": Place("step", "gather", "in", 5),
    "before_first_upload": Place("put", _saved(3, ".*"), "before"),
    "in_first_upload": Place("put", _saved(3, "queue.safetensors"), "torn"),
    "before_upload": Place("put", _saved(6, ".*"), "before"),
    "in_upload": Place("put", _saved(6, "queue.safetensors"), "torn"),
    "in_upload_in_parts": Place("put", _saved(6, "optimizer.safetensors"), "unfinished"),
    "before_manifest": Place("put", _saved(6, "manifest.json"), "before"),
    "uploaded": Place("put", _saved(6, "manifest.json"), "after"),
    "last_uploaded": Place("put", _saved(10, "manifest.json"), "after"),
    "before_first_snapshot": Place("put", _SNAPSHOT, "before"),
    "in_snapshot": Place("put", _SNAPSHOT, "torn", 2),
    "snapshot_written": Place("put", _SNAPSHOT, "after", 2),
    "before_prune": Place("delete", f"{_OLD}attributes.json$", "before"),
    "in_prune": Place("delete", f"{_OLD}manifest.json$", "after"),
    "pruned": Place("delete", f"{_OLD}wordpiece.json$", "after"),
    "before_result": Place("put", _RESULT, "before"),
    "in_result": Place("put", _RESULT, "torn"),
    "result_written": Place("put", _RESULT, "after"),
}
VICTIMS = ("worker", "driver", "node", "server")
FREEZES = "worker_cut_off"
"""Instead of dying, a worker does no more, as if the network between it and the other one were cut."""


class Moment(NamedTuple):
    """A place, and who dies there: a worker (the one that is held, where one is), the driver, the node of both workers,
    or the S3 server, which comes back."""

    place: str
    victim: str

    @property
    def kind(self) -> tuple[str, str]:
        return "train", self.victim.split("_")[0]

    def __str__(self) -> str:
        return f"train-{self.place}-{self.victim}"


def moments() -> list[Moment]:
    """Every place with every victim; at the result there are no workers any more."""
    every = [Moment(place, victim) for place in PLACES for victim in VICTIMS]
    frozen = [Moment(place, FREEZES) for place in ("backward", "gather")]  # each waits compute.collective_timeout out
    return [one for one in every if not ("result" in one.place and one.victim in ("worker", "node"))] + frozen


@dataclass
class Held:
    """The fuse of a place: whoever comes there first is held. Counts by process."""

    place: Place
    folder: str
    met: int = field(default=0)

    def number(self, method: str, key: str) -> int:
        """How often the operation of the place was met, with this one; 0 for any other."""
        if method != self.place.method or not re.search(self.place.key, key):
            return 0
        self.met += 1
        return self.met

    def fatal(self, number: int, phase: str) -> Callable[[], None] | None:
        return partial(hold, self.folder) if (number, phase) == (self.place.number, self.place.phase) else None

    def reach(self, what: str) -> None:
        """A moment of a step."""
        if here := self.fatal(self.number("step", what), "in"):
            here()

    def __reduce__(self) -> tuple[Any, ...]:
        return armed, (self.place, self.folder)


class Dying(Held):
    """The fuse of a place at which this process dies."""

    def fatal(self, number: int, phase: str) -> Callable[[], None] | None:
        here = (number, phase) == (self.place.number, self.place.phase)
        return partial(kill, self.folder, os.getpid()) if here else None


def hold(folder: str) -> None:
    """Says who is held, unless somebody was, and waits."""
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="pid-") as file:
        file.write(str(os.getpid()))
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, Path(folder, HELD))
            while not Path(folder, GONE_ON).exists():
                time.sleep(0.01)


@contextmanager
def held(run: Callable[[], int], folder: Path) -> Iterator[list[int]]:
    """A run in a thread, whose exit status is there behind the block; the block begins when somebody is held, who goes
    on behind it, unless he was killed."""
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(run()))
    thread.start()
    wait_until(lambda: (folder / HELD).exists() or not thread.is_alive())
    try:
        assert (folder / HELD).exists(), "nobody came to this moment"
        yield status
    finally:
        (folder / GONE_ON).touch()
        thread.join(DEADLINE)
    assert status, "the run goes on and on"


def wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@cache
def armed(place: Place, folder: str) -> Held:
    """This process's fuse; its training steps, if it comes to make any, have the moments of steps from now on."""
    fuse = Held(place, folder)
    gradients, step, gather = Descent.gradients, Descent.step, Gatherer.__call__

    def in_backward(descent: Descent, *arguments: Any) -> Any:
        first = next(one for one in descent.model.parameters() if one.requires_grad)
        hook = first.register_hook(lambda gradient: fuse.reach("backward"))
        try:
            return gradients(descent, *arguments)
        finally:
            hook.remove()

    def before_step(descent: Descent, *arguments: Any) -> Any:
        fuse.reach("optimizer")
        return step(descent, *arguments)

    def in_gather(gatherer: Gatherer, *arguments: Any) -> Any:
        """The others are in the collective, and wait for this one."""
        fuse.reach("gather")
        return gather(gatherer, *arguments)

    for kind, name, method in (
        (Descent, "gradients", in_backward),
        (Descent, "step", before_step),
        (Gatherer, "__call__", in_gather),
    ):
        setattr(kind, name, method)
    return fuse
