"""The curves of a run: what its first worker tells MLflow step by step.

They go through a Delivery: a server that is slow, stopped or dead never delays a step, and costs one warning. A
restarted worker logs steps again; MLflow keeps both points, and readers take the last one of a step. MLflow takes
seconds to import: the thread that delivers does it, and only where something is delivered.
"""

import importlib.util
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from infra.delivery import Delivery, NoDelivery, Refused, every, nothing

CLOSE_SECONDS = 15.0
"""How long the end of a run waits for a server that still takes points."""
SYSTEM_METRICS_SECONDS = 10.0

_LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own would hold a call for up to four minutes."""
_ALWAYS = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
"""Whatever the user has set: a pickle runs code, and no model of ours is one."""

logger = logging.getLogger("xmodal.tracking")


class Point(NamedTuple):
    """One value of one curve."""

    name: str
    value: float
    milliseconds: int
    """Since 1970."""
    step: int


class NoCurves:
    """Delivers nothing: the same methods, where no MLflow server is named."""

    run_id = ""

    def attach(self, rank: int) -> None:
        return

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        return

    def detach(self) -> None:
        return


class Curves:
    """Those of the MLflow run `run_id`. It pickles until it is attached."""

    def __init__(self, uri: str, run_id: str, started: float, system_metrics: bool) -> None:
        """started: Unix seconds; the steps of system metrics are seconds since then, so they go on after a restart."""
        self.uri, self.run_id, self.started, self.system_metrics = uri, run_id, started, system_metrics
        self._delivery: Delivery[Point] | NoDelivery = NoDelivery()

    def attach(self, rank: int) -> None:
        """Called in each worker: rank 0 delivers curves and system metrics, the others nothing."""
        set_limits()
        if rank == 0:
            sample = _system_sampler(self.started) if self.system_metrics else nothing
            self._delivery = Delivery(partial(_send, self.uri, self.run_id), sample, f"MLflow at {self.uri}")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Queues one point a metric at `step`; returns at once, whatever the server does."""
        self._delivery.add(_points(step, metrics))

    def detach(self) -> None:
        """Delivers what is queued, for CLOSE_SECONDS at most."""
        self._delivery.close(CLOSE_SECONDS)
        self._delivery = NoDelivery()


def set_limits() -> None:
    """How long a call to MLflow may hold its caller; what the user has set stays."""
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # else a line for every retry
    os.environ.update(_LIMITS | {name: os.environ[name] for name in _LIMITS if name in os.environ} | _ALWAYS)


def one_line(error: Exception) -> str:
    """What an error says, as the end of a line of ours."""
    return " ".join(str(error).split())[:300]


def _points(step: int, metrics: Mapping[str, float]) -> list[Point]:
    now = int(time.time() * 1000)
    return [Point(name, float(value), now, step) for name, value in metrics.items()]


@cache
def _client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _send(uri: str, run_id: str, points: Sequence[Point]) -> None:
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    try:
        _client(uri).log_batch(run_id, metrics=[Metric(*point) for point in points])
    except MlflowException as error:
        if 400 <= error.get_http_status_code() < 500:
            raise Refused(one_line(error)) from error
        raise


def _system_sampler(started: float) -> Callable[[], Sequence[Point]]:
    """CPU, memory, disk and network under MLflow's own names, about every SYSTEM_METRICS_SECONDS."""
    if importlib.util.find_spec("psutil") is None:
        logger.warning("system metrics are not logged: install psutil")
        return nothing
    monitors = []

    def collect() -> list[Point]:
        if not monitors:
            monitors.extend(_monitors())
        values: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            values |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return _points(int(time.time() - started), values)

    return every(SYSTEM_METRICS_SECONDS, collect)


def _monitors() -> list:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    return [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
