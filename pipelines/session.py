"""The Ray cluster that a verb runs in, for its length."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.cluster import connect, local_ray, variables
from pipelines.addresses import optional_address
from pipelines.recipe import ComputeSettings, in_job

RAY_HOME = Path(".xmodal/ray")


@contextmanager
def cluster(compute: ComputeSettings, cpus: int | None = None) -> Iterator[None]:
    """The recipe's cluster: the one at `ray_address`, else a local one that stops at the end, with logical CPUs for its
    workers, or for what holds `cpus`.

    The addresses of storage that a recipe names go into the environment, which is how Ray's workers resolve them.
    """
    endpoint = optional_address("compute.endpoint", compute.endpoint)
    addresses = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": compute.region}
    os.environ.update({name: value for name, value in addresses.items() if value})
    least, most = compute.world_sizes[0], compute.world_sizes[-1]
    gpus = least if compute.gpu else 0
    address = joins(compute)
    joined = (
        connect(address, least, cpus_per_worker=compute.cpus_per_worker, gpus=gpus, grows=compute.autoscaled)
        if address
        else local_ray(cpus or math.ceil(most * compute.cpus_per_worker), RAY_HOME, gpus=gpus)
    )
    with variables(timeouts(compute)), joined:
        yield


def joins(compute: ComputeSettings) -> str | None:
    """The address of the cluster that `cluster` joins: the recipe's, else in a cluster job that job's; None = a local
    one is started."""
    return optional_address("compute.ray_address", compute.ray_address) or ("auto" if in_job() else None)


def timeouts(compute: ComputeSettings) -> dict[str, str]:
    """What Ray Train reads from the environment of the process that starts a group."""
    return {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(compute.start_timeout),
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(compute.health_timeout),
        "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": str(compute.collective_timeout),  # of Ray's own, in every report
    }
