"""What ends a run for good, in one line that names the setting; a bug keeps Ray's traceback."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    BroadcastCollectiveTimeoutError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)

from pipelines.errors import Failed
from pipelines.train.failures import explained
from xmodal.distributed import Diverged

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/"
CUT = RuntimeError(f"{GLOO}unbound_buffer.cc:81] Timed out waiting 20000ms for recv operation to complete")
LOST = RuntimeError(f"{GLOO}pair.cc:544] Connection closed by peer [127.0.0.1]:4711")
DIED = WorkerHealthCheckFailedError("A worker health check failed.", RuntimeError("the actor died"))
FROZEN = WorkerHealthCheckTimeoutError("A worker health check has been hanging.")
REPORT = BroadcastCollectiveTimeoutError(20.0, [1], 20.0)


@pytest.mark.parametrize(
    ("failures", "named"),
    [
        ([CUT], "compute.collective_timeout"),
        ([REPORT], "compute.collective_timeout"),
        ([LOST, CUT], "compute.collective_timeout"),
        ([CUT, FROZEN], "compute.health_timeout"),
        ([LOST, DIED], "a training worker died"),
        ([LOST], "lost its connection"),
        ([Diverged("query.head and 2 more are no longer the same on every worker")], "no longer the same"),
    ],
)
def test_what_the_others_follow_from_is_told(failures: list[Exception], named: str) -> None:
    told = explained(WorkerGroupError("", dict(enumerate(failures))))
    assert isinstance(told, Failed) and named in str(told) and "compute.max_failures" in str(told)


def test_a_late_start_names_its_timeout() -> None:
    told = explained(ControllerError(WorkerGroupStartupTimeoutError(3)))
    assert isinstance(told, Failed) and "3 training workers did not start within compute.start_timeout" in str(told)


def test_what_a_worker_says_itself_comes_first_and_a_bug_is_no_line() -> None:
    own = Failed("no first batch within 8 s")
    assert explained(WorkerGroupError("", {0: LOST, 1: own})) is own
    error = WorkerGroupError("", {0: LOST, 1: KeyError("a bug")})
    assert explained(error) is error


def all_reduced(rank: int, store: str, times: int) -> None:
    """In a group of two whose collectives may take two seconds."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    group = dist.new_group(timeout=timedelta(seconds=2))
    for _ in range(times):
        dist.all_reduce(torch.ones(1), group=group)


def silent(store: str) -> None:
    all_reduced(1, store, times=1)
    signal.pause()


def gone(store: str) -> None:
    all_reduced(1, store, times=1)
    os._exit(0)


@pytest.mark.parametrize(("other", "named"), [(silent, "compute.collective_timeout"), (gone, "lost its connection")])
def test_what_gloo_itself_says_is_understood(other: Callable[[str], None], named: str, tmp_path: Path) -> None:
    """A worker whose network is cut does not answer; one that dies closes its connection."""
    store = str(tmp_path / "store")
    second = get_context("spawn").Process(target=other, args=(store,))
    second.start()
    try:
        with pytest.raises(RuntimeError) as caught:
            all_reduced(0, store, times=2)
    finally:
        dist.destroy_process_group()
        second.kill()
        second.join()
    told = explained(WorkerGroupError("", {0: caught.value}))
    assert isinstance(told, Failed) and named in str(told), caught.value
