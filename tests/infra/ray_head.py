"""A real Ray of one node with token authentication and its jobs API, for tests of what runs as a job."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from infra.process import Child, free_ports, program

START_SECONDS = 120.0
PORTS = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
         "metrics-export-port", "runtime-env-agent-port", "node-manager-port", "object-manager-port")  # fmt: skip


@dataclass(frozen=True)
class Head:
    """Its jobs address, the token that opens it, the folder of its files, and the process that was started."""

    address: str
    token: str
    directory: Path
    pid: int

    def get(self, path: str, token: str | None = None) -> bytes:
        """What a path of its API answers to a token, by default its own."""
        shown = {"Authorization": f"Bearer {self.token if token is None else token}"} if token != "" else {}
        with urllib.request.urlopen(urllib.request.Request(self.address + path, headers=shown), timeout=20) as answer:
            return answer.read()

    def status(self, path: str, token: str) -> int:
        """HTTP status that a path of its API gives to a token; an empty one is not sent."""
        try:
            self.get(path, token)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def shown(self) -> dict[str, float]:
        """What Prometheus finds of ours, at the addresses that Ray tells it: the last value by name, and task."""
        told = json.loads((self.directory / "r/prom_metrics_service_discovery.json").read_text())
        found: dict[str, float] = {}
        for target in (target for group in told for target in group["targets"]):
            with suppress(OSError), urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
                lines = re.findall(r"^ray_(xmodal_\w+)\{(.*)\} (\S+)$", answer.read().decode(), re.MULTILINE)
                found |= {" ".join([name, *re.findall(r'task="(\w+)"', of)]): float(value) for name, of, value in lines}
        return found

    def submit(self, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`xmodal submit WORDS` in `folder`, from a process of its own, which runs no code of that folder."""
        environment = os.environ | {"RAY_AUTH_TOKEN": self.token} | variables
        command = [sys.executable, "-P", "-m", "pipelines", "submit", "--address", self.address, *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def ray_head(environment: Mapping[str, str]) -> Iterator[Head]:
    """`environment` is what its nodes see beside this process's variables."""
    ray = program("ray")
    assert ray is not None
    directory = Path(tempfile.mkdtemp(prefix="xr-", dir="/tmp"))  # Ray's socket paths must stay short
    ports = free_ports(len(PORTS))
    token = secrets.token_hex(32)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    whole = os.environ | dict(environment) | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "PATH": path}
    whole["RAY_metrics_report_interval_ms"] = "1000"  # of 10 s
    options = [f"--{name}={port}" for name, port in zip(PORTS, ports, strict=True)]
    options += ["--head", "--block", "--num-cpus=3", "--disable-usage-stats", "--include-dashboard=true"]
    options += ["--node-ip-address=127.0.0.1", f"--temp-dir={directory / 'r'}", f"--object-store-memory={128 << 20}"]
    try:
        with Child([ray, "start", *options], directory / "head.log", whole) as child:
            head = Head(f"http://127.0.0.1:{ports[1]}", token, directory, child.pid)
            child.wait_until(lambda: _answers(head), START_SECONDS)
            yield head
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _answers(head: Head) -> bool:
    try:
        return bool(head.get("/api/version"))
    except OSError:
        return False
