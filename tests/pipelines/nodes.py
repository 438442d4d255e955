"""A Ray cluster of several real nodes (raylets) on this machine, each of which may be killed, or added later."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from infra.process import Child, StartFailed, below, end, free_ports, program

QUICK = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""A node that was killed is noticed within 4 seconds, a frozen one within 10."""
START_SECONDS = 120.0


class Cluster:
    """A head with `cpus` on the loopback, and the nodes that join it; all end with the block. What runs there sees
    `environment` besides this process's."""

    def __init__(self, cpus: int, environment: Mapping[str, str] | None = None, token: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="xr-", dir="/tmp"))  # Ray's socket paths must stay short
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token or secrets.token_hex(32)}
        own |= {"RAY_USAGE_STATS_ENABLED": "0", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.environment = dict(os.environ) | own | QUICK | {"OMP_NUM_THREADS": "1"} | dict(environment or {})
        self.cpus, self.port = cpus, free_ports(1)[0]
        self.stack, self.children = ExitStack(), list[Child]()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        try:
            self._start("head", "--head", f"--port={self.port}", f"--num-cpus={self.cpus}", *self._head())
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        family = [one for child in self.children for one in below(child.pid)]
        self.stack.close()
        end(family)

    def _head(self) -> list[str]:
        """What else the head is started with: here without an autoscaler."""
        return [*self._own(), "--no-monitor"]

    def _own(self) -> list[str]:
        return ["--include-dashboard=false", f"--temp-dir={self.directory / 'r'}"]

    def node(self, name: str, cpus: int = 2) -> Child:
        """A node that has joined."""
        return self._start(name, f"--address={self.address}", f"--num-cpus={cpus}")

    def _start(self, name: str, *options: str) -> Child:
        ray = program("ray")
        assert ray is not None
        common = [
            "--block",
            "--disable-usage-stats",
            "--include-log-monitor=false",
            "--node-ip-address=127.0.0.1",
            f"--object-store-memory={96 << 20}",
        ]
        command = [ray, "start", *common, *options]
        try:
            return self._started(name, command)
        except StartFailed:  # on a busy machine Ray gives up after 30 seconds, as in infra.cluster
            return self._started(f"{name}-again", command)

    def _started(self, name: str, command: list[str]) -> Child:
        child = self.stack.enter_context(Child(command, self.directory / f"{name}.log", self.environment))
        self.children.append(child)
        child.wait_until(lambda: "Ray runtime started" in child.log.read_text(), START_SECONDS)
        return child
