"""Why a group of training workers ended, in words that name our settings: those of Ray, gloo and NCCL name none."""

from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    CollectiveTimeoutError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from torch.distributed import DistError

from infra.storage import StorageError
from pipelines.errors import DataRefused, Failed, NotFound
from pipelines.train.out_of_memory import killed
from xmodal.checkpoint import Damaged
from xmodal.distributed import Diverged
from xmodal.settings import SettingsError

FOR_THE_USER = (DataRefused, Failed, NotFound, SettingsError, Damaged, StorageError)
"""Errors of a worker or of Ray's controller that say what to do about them."""
DIED = "a training worker died; its node or the system's memory killer may have ended it"
FROZEN = "a training worker gave no answer for compute.health_timeout: it, or its node, is frozen or cut off"
CUT = (
    "a training worker waited for another one for compute.collective_timeout: the network between their nodes is cut, "
    "or one of them is frozen or far slower"
)
LOST = "a training worker lost its connection to another one"
LATE = (
    "{} training workers did not start within compute.start_timeout: the cluster has no room for them, or its nodes "
    "take longer to come"
)
OFTEN = "compute.max_failures allows no more of that"


def explained(error: WorkerGroupError | ControllerError) -> Exception:
    """What to raise for it: what a worker or the controller has to say to the user; else the line that a death,
    a timeout, a lost connection or a divergence comes to; `error` itself where somebody failed otherwise: a bug."""
    causes = _causes(error)
    for one in causes:
        if isinstance(one, FOR_THE_USER):
            return one
    lines = [_line(one) for one in causes]
    if None in lines:
        return error
    first = next(line for line in (DIED, FROZEN, CUT, LOST, *lines) if line in lines)  # the others follow from it
    return Failed(f"{first}; {OFTEN}; run the same command again to go on from the last checkpoint")


def _causes(error: WorkerGroupError | ControllerError) -> list[Exception]:
    """What was raised in the workers or in the controller, without what Ray wraps it in."""
    if isinstance(error, ControllerError):
        return [error.controller_failure]
    return [killed(getattr(one, "_base_exc", one)) for one in error.worker_failures.values()]


def _line(cause: Exception) -> str | None:
    text = str(cause)
    if isinstance(cause, Diverged):
        return f"{cause}: a bug, or a machine that computes wrongly"
    if isinstance(cause, WorkerGroupStartupTimeoutError):
        return LATE.format(cause.num_workers)
    if isinstance(cause, WorkerHealthCheckFailedError):
        return DIED
    if isinstance(cause, WorkerHealthCheckTimeoutError):
        return FROZEN
    if isinstance(cause, CollectiveTimeoutError):
        return CUT
    if isinstance(cause, DistError) or "/gloo/" in text:  # gloo's own are plain RuntimeErrors
        return CUT if "imed out" in text else LOST
    return None
