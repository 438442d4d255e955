"""Ray for one verb: a local cluster that starts and stops with it, or an existing one that is joined and left.

What is always set, because Ray's defaults would hang, write to HOME or talk: a token, one CPU more than the workers
hold (Ray Data waits in silence without it), no change of working directory, no `uv run` in workers, no usage report.
Secrets reach a local cluster through the environment it inherits, and never through a runtime environment, which every
reader of the job API sees in clear text.
"""

import logging
import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import psutil
import ray
import ray.data  # sets up its logger on import: the levels below must come after it

from infra.process import below, end
from infra.storage import Unreachable

OBJECT_STORE_BYTES = 512 << 20
CONNECT_SECONDS = 5.0
SLOW = "timed out during startup"
"""What Ray says when its own processes have not come up in time."""
SPARE_CPUS = 2
"""Logical CPUs of a local cluster beside the workers': one reads data, one is left for Ray's own tasks."""

_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # one report per worker and poll: the default 2 s slows short runs
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # at "error" every reader actor prints a line about its constructor arguments
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_ALONE = _SETTINGS | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
"""On one machine: nobody takes it away with notice, and the watcher is one more process to start."""


class ClusterTooSmall(Exception):
    """The cluster cannot hold the workers and a reader beside them: the run would wait for ever."""


@contextmanager
def local_ray(
    workers: int,
    directory: str | Path,
    *,
    cpus_per_worker: float = 1.0,
    gpus: int = 0,
    environment: Mapping[str, str] | None = None,
    object_store_bytes: int = OBJECT_STORE_BYTES,
) -> Iterator[str]:
    """A cluster on this machine for `workers` training processes; yields its address and stops it at the end.

    CPUs are logical: never fewer than the workers need plus SPARE_CPUS, whatever the machine has. A token made for this
    cluster keeps others out, unless RAY_AUTH_MODE says otherwise. `directory` keeps Ray's session files and logs.
    `environment` is what the workers see beside this process's own variables. Where this process is in a cluster
    already, that one is used and left as it is. The workers hold `gpus` of its GPUs.

    Raises ClusterTooSmall, and Unreachable where Ray does not start.
    """
    held = math.ceil(workers * cpus_per_worker)
    with ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(variables(_authentication() | _ALONE | dict(environment or {})))
            files = stack.enter_context(_short_path(Path(directory)))
            stack.callback(_stop, files)
            cpus = max(os.cpu_count() or 1, held + SPARE_CPUS)
            _start_here(
                address="local",
                num_cpus=cpus,
                object_store_memory=object_store_bytes,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                _temp_dir=files,
            )
        _check_size(held, gpus)
        yield ray.get_runtime_context().gcs_address


@contextmanager
def connect(
    address: str,
    workers: int,
    *,
    cpus_per_worker: float = 1.0,
    gpus: int = 0,
    grows: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Joins the cluster at `address` (`host:port` or `auto`) and leaves it at the end, running; yields its address.

    Authentication follows RAY_AUTH_MODE; without it, a token (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH) turns it on. The
    nodes have their own AWS_* variables: `environment` may hold no secret. Where the cluster `grows` by itself, its
    present size says nothing, and Ray's autoscalers tell nobody what they could bring. Raises Unreachable,
    ClusterTooSmall.
    """
    runtime = _SETTINGS | dict(environment or {})
    with variables(runtime), ExitStack() as stack:
        _check_answer(address)
        stack.callback(ray.shutdown)
        try:
            _start(address=address, runtime_env={"env_vars": runtime})
        except (ConnectionError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise Unreachable(f"Ray at {address}: {reason}; check the address and RAY_AUTH_TOKEN") from None
        if not grows:
            _check_size(math.ceil(workers * cpus_per_worker), gpus)
        yield ray.get_runtime_context().gcs_address


@cache
def _authentication() -> dict[str, str]:
    """A token for the clusters of this process. Ray itself turns authentication on when the mode is unset; set by us
    after `import ray`, the mode would go unnoticed. With a token at hand Ray writes none to HOME."""
    if "RAY_AUTH_MODE" in os.environ:
        return {}
    return {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _start(**options: object) -> None:
    """Joins or starts Ray without its log lines and progress bars."""
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **options)  # pyright: ignore
    ray.data.DataContext.get_current().enable_progress_bars = False


def _start_here(**options: object) -> None:
    """Starts Ray. It gives up after 30 seconds, and nothing can be set about it: on a busy machine a second try, with
    all its files read already, is all it needs."""
    for last in (False, True):
        try:
            return _start(**options)
        except Exception as error:
            ray.shutdown()
            if SLOW not in str(error):
                raise
            if last:
                raise Unreachable(
                    "Ray did not start on this machine, twice, within its 30 seconds: processor, memory or disk are "
                    "too busy; try again, or name a cluster by compute.ray_address"
                ) from None


def _stop(files: str) -> None:
    """Ends the cluster whose files are there, and every process of it: an actor that hangs as it ends is one that Ray
    has forgotten."""
    children = (one for one in psutil.process_iter(["ppid", "cmdline"]) if one.info["ppid"] == os.getpid())
    own = [child for child in children if files in " ".join(child.info["cmdline"] or [])]
    family = [one for child in own for one in (child, *below(child.pid))]
    ray.shutdown()
    end(family)


def _check_answer(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise Unreachable(f"Ray at {address}: {error.strerror or error}; check compute.ray_address") from None


def _check_size(held: int, gpus: int) -> None:
    there = ray.cluster_resources()
    cpus = int(there.get("CPU", 0))
    there_gpus = int(there.get("GPU", 0))
    if gpus > there_gpus:
        raise ClusterTooSmall(
            f"the workers hold {gpus} GPUs, but the Ray cluster has {there_gpus}; lower compute.workers, take "
            "compute.gpu=false, or compute.autoscaled=true where nodes come when they are asked for"
        )
    if held > cpus - 1:
        raise ClusterTooSmall(
            f"the workers hold {held} CPUs and reading needs one more, but the Ray cluster has {cpus}; "
            "lower compute.workers or compute.cpus_per_worker, give Ray more CPUs, or take compute.autoscaled=true "
            "where nodes come when they are asked for"
        )


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the block and what it starts; those already set by the user stay, and are restored."""
    before = dict(os.environ)
    os.environ.update(dict(values) | before)
    try:
        yield
    finally:
        for name in (values.keys() | {"RAY_AUTH_MODE"}) - before.keys():  # the latter is set by Ray
            os.environ.pop(name, None)


@contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """A short name for `directory`: Ray's socket paths below it must stay under 107 bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    parent = tempfile.mkdtemp(prefix="xr-", dir="/tmp")
    link = Path(parent) / "r"
    link.symlink_to(directory.absolute(), target_is_directory=True)
    try:
        yield str(link)
    finally:
        shutil.rmtree(parent)
