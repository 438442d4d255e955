"""How many trials a cluster holds at once. One too many does not fail: it waits for CPUs that never come free."""

import math
import os
from collections.abc import Mapping

from infra.cluster import ClusterTooSmall
from pipelines.recipe import ComputeSettings
from xmodal.settings import SettingsError

DRIVER_CPUS = 0.1
"""Of a trial that only watches its group of workers. With Ray's default of 1 four of them fill four CPUs, and nothing
ever trains."""


def alone(compute: ComputeSettings) -> bool:
    """Whether a trial trains in one process, and so is a plain function."""
    return compute.world_sizes[-1] == 1


def resources(compute: ComputeSettings) -> dict[str, float]:
    """What Tune reserves for a trial; the workers of a group reserve their own."""
    if not alone(compute):
        return {"CPU": DRIVER_CPUS}
    return {"CPU": compute.cpus_per_worker} | ({"GPU": 1} if compute.gpu else {})


def held(compute: ComputeSettings) -> float:
    """CPUs that a trial holds with all that it starts: its workers, and a reader beside a group of them."""
    most = compute.world_sizes[-1]
    return most * compute.cpus_per_worker + (0 if alone(compute) else 1)


def spare(compute: ComputeSettings) -> int:
    """CPUs that no trial may hold: the watchers of groups, and what Ray Data starts beside readers, need one."""
    return 0 if alone(compute) else 1


def here(compute: ComputeSettings, asked: int | None) -> tuple[int, int]:
    """Trials at once on this machine, and the logical CPUs that they hold: a local Ray starts with some more. Unless
    more are asked for, as many as its processors hold, and at least one."""
    trials = asked or max(1, int((os.cpu_count() or 1) // held(compute)))
    return trials, math.ceil(trials * held(compute))


def at_once(compute: ComputeSettings, asked: int | None, there: Mapping[str, float]) -> int:
    """Trials at once on the cluster that was joined, whose resources are `there`.

    Raises SettingsError where only the user can know (an idle autoscaled group has no CPUs, and no autoscaler tells
    what it could bring), ClusterTooSmall where a fixed cluster does not hold what is asked for, or not one trial.
    """
    if compute.autoscaled:
        if asked is None:
            raise SettingsError("--at-once: needed with compute.autoscaled=true: no autoscaler tells what it may bring")
        return asked
    most = int((there.get("CPU", 0) - spare(compute)) // held(compute))
    if compute.gpu:
        most = min(most, int(there.get("GPU", 0) // compute.world_sizes[-1]))
    if most < (asked or 1):
        raise ClusterTooSmall(
            f"a trial holds {held(compute):g} CPUs, and the cluster's {there.get('CPU', 0):g} CPUs and "
            f"{there.get('GPU', 0):g} GPUs hold {most} at once; lower --at-once, compute.workers or "
            "compute.cpus_per_worker, or take compute.autoscaled=true where nodes come when they are asked for"
        )
    return asked or most


def devices(compute: ComputeSettings) -> float:
    """GPUs of a trial, or its workers' CPUs where it has none: what a budget counts."""
    most = compute.world_sizes[-1]
    return most if compute.gpu else most * compute.cpus_per_worker
