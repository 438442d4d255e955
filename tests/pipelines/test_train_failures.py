"""What ends a run for good, in one line that names the setting; a bug keeps Ray's traceback."""

import pytest
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
