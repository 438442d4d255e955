"""`python -m tests.chaos.victim`: runs stories in forked children of a process that has only imported the libraries.

A job is a line of JSON on stdin: story, archives, root, environment, the lease that it takes and its patience with
another's, and where something dies (number, phase, marks), with `ray` in workers of the Ray cluster there; or the
`recipe` of a training run. With a `place` nobody dies by himself: the first who comes there is held. Or the `recipe` of
a retraining and where its `report` goes, which dies at its `place`. The answer is a line on stdout: the exit status of
the child.
obstore hangs in a child forked after its first use, so this process never uses a store.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from infra import lock
from infra.cluster import connect
from infra.storage import Store, open_store
from pipelines.prepare import workers
from pipelines.prepare.settings import SurveySettings
from pipelines.prepare.workers import RayWorkers, Worker, Workers
from pipelines.recipe import ComputeSettings
from pipelines.retrain.flow import retrain
from pipelines.train import flow as train_flow
from tests.chaos import moments, stories
from tests.chaos.killing import Fuse, Killing, KillingReads, Ordinal, Shared, kill
from tests.chaos.moments import Dying
from tests.pipelines.surveys import IN_PROCESS


def run(job: dict[str, Any]) -> None:
    """In the child."""
    os.environ.update(job["environment"])
    with patch.object(lock, "PATIENCE", job["patience"]):
        if "report" in job:
            renew(job)
        elif "recipe" in job:
            train(job)
        elif "place" in job:
            with connect(job["ray"], 1), patch.object(workers, "LIGHT_TASKS", 2):
                tell(job, _held(job), RayWorkers(2))
        elif "ray" in job:
            tell_over_ray(job)
        else:
            tell(job, _own_fuse(job), IN_PROCESS)


def train(job: dict[str, Any]) -> None:
    """`xmodal train`, with a store that brings the place at which to be held to all processes of the run."""
    if "place" in job:
        Path(job["folder"], moments.DRIVER).write_text(str(os.getpid()))
        opened, fuse = ComputeSettings.store, _held(job)
        ComputeSettings.store = lambda self: cast(Store, Killing(opened(self), fuse))
    train_flow.train((job["recipe"],))


def renew(job: dict[str, Any]) -> None:
    """`xmodal retrain`, which dies at the place, if there is one."""
    if "place" in job:
        opened, fuse = ComputeSettings.store, Dying(moments.Place(*job["place"]), job["folder"])
        ComputeSettings.store = lambda self: cast(Store, Killing(opened(self), fuse))
    retrain((job["recipe"],), Path(job["report"]))


def _held(job: dict[str, Any]) -> moments.Held:
    return moments.armed(moments.Place(*job["place"]), job["folder"])


def _own_fuse(job: dict[str, Any]) -> Ordinal:
    """Of this process alone."""
    if "number" not in job:
        return Ordinal()
    return Ordinal(job["number"], job["phase"], partial(kill, job["marks"], os.getpid()))


def tell_over_ray(job: dict[str, Any]) -> None:
    victim = os.getpid() if job["victim"] == "driver" else None
    fuse = Shared(job["number"], job["phase"], job["counter"], job["marks"], victim)
    each = stories.MOST if job["phase"] == "read" else 2  # a part and its receipt
    with connect(job["ray"], 1), patch.object(workers, "LIGHT_TASKS", 2):
        tell(job, fuse, OneStage(fuse, each))


@dataclass
class OneStage:
    """Over Ray the tasks in which somebody dies, which make `each` so many operations, and the others here: every pool
    of actors takes many seconds to start."""

    fuse: Shared
    each: int

    def run(
        self, make: Callable[..., Worker], arguments: tuple[Any, ...], tasks: Sequence[Any], light: bool = False
    ) -> Iterator[bytes]:
        done = len(os.listdir(self.fuse.folder))
        fatal = done <= self.fuse.fatal_number < done + self.each * len(tasks)
        where = RayWorkers(2) if fatal else IN_PROCESS
        return where.run(make, arguments, tasks, light)


def tell(job: dict[str, Any], fuse: Fuse, where: Workers) -> None:
    """The job's story, with the fuse in the reads of the archive or in all that is written."""
    root: Any = open_store(job["root"])
    if job.get("phase") == "read":
        opened = SurveySettings.store
        SurveySettings.store = lambda self: cast(Store, KillingReads(opened(self), fuse))
    else:
        root = Killing(root, fuse)
    stories.tell(job["story"], job["archives"], root, where, job["lease"])


def forked(job: dict[str, Any]) -> int:
    """Exit status of a child."""
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        code = 1
        try:
            run(job)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    import_module("s3fs")  # what is imported here is not imported by every child, which takes seconds
    stories.ENCODER.build().identity()
    for line in sys.stdin:
        print(forked(json.loads(line)), flush=True)
