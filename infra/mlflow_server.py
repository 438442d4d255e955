"""An MLflow server on the loopback for demos and tests: SQLite below a directory, artifacts through the server."""

import importlib.util
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.process import Child, StartFailed, free_ports

START_SECONDS = 90.0
"""A cold start migrates the database; 7 to 51 s were seen on busy machines."""


class MlflowServer:
    """Context manager; `uri` is its address. Clients need no S3 credentials: the server reads and writes artifacts.

    artifacts_url: directory or s3:// URL. environment: AWS_* variables for it. Raises StartFailed with one line.
    """

    def __init__(
        self, directory: str | Path, artifacts_url: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.directory = Path(directory).absolute()
        self.artifacts_url = artifacts_url or str(self.directory / "artifacts")
        self.environment = dict(environment or {})
        self.uri = ""

    def __enter__(self) -> Self:
        if self.artifacts_url.startswith("s3://") and importlib.util.find_spec("boto3") is None:
            raise StartFailed("MLflow keeps artifacts on S3 by boto3; install it beside mlflow: pip install boto3")
        self.directory.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{port}"
        environment = os.environ | self.environment | _SETTINGS
        self.child = Child(self._command(port), self.directory / "mlflow.log", environment)
        try:
            self.child.wait_until(lambda: self.child.owns(port) and self._healthy(), START_SECONDS)
        except BaseException:
            self.child.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.stop()

    def _command(self, port: int) -> list[str]:
        database = f"sqlite:///{self.directory}/mlflow.db"
        where = ["--backend-store-uri", database, "--artifacts-destination", self.artifacts_url]
        listen = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        return [sys.executable, "-m", "mlflow", "server", *where, *listen]

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False


_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
