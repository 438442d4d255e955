"""`xmodal submit` against a real Ray head with its jobs API."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.process import Child, free_ports, program
from infra.storage import open_store
from pipelines.train.runs import Run, run_names
from tests.pipelines.road import prepared, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

PLANTED = "planted-and-never-to-be-sent"
START_SECONDS = 120.0
PORTS = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
         "metrics-export-port", "runtime-env-agent-port", "node-manager-port", "object-manager-port")  # fmt: skip


@dataclass(frozen=True)
class Head:
    """A cluster of one node: its jobs address, and the token that opens it."""

    address: str
    token: str

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read()

    def ready(self) -> bool:
        try:
            return bool(self.get("/api/version"))
        except OSError:
            return False

    def submit(self, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`xmodal submit WORDS` in `folder`, from a process of its own."""
        environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token} | variables
        command = [sys.executable, "-m", "pipelines", "submit", "--address", self.address, *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    ray = program("ray")
    assert ray is not None
    directory = Path(tempfile.mkdtemp(prefix="xr-", dir="/tmp"))  # Ray's socket paths must stay short
    ports = free_ports(len(PORTS))
    token = secrets.token_hex(32)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "PATH": path}
    options = [f"--{name}={port}" for name, port in zip(PORTS, ports, strict=True)]
    options += ["--head", "--block", "--num-cpus=2", "--disable-usage-stats", "--include-dashboard=true"]
    options += ["--node-ip-address=127.0.0.1", f"--temp-dir={directory / 'r'}", f"--object-store-memory={128 << 20}"]
    found = Head(f"http://127.0.0.1:{ports[1]}", token)
    try:
        with Child([ray, "start", *options], directory / "head.log", environment) as child:
            child.wait_until(found.ready, START_SECONDS)
            yield found
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory that holds a recipe and nothing else."""
    write_recipe(tmp_path / "tiny.yaml", "archive", "root")
    return tmp_path


def test_a_verb_runs_as_a_job_and_no_secret_goes_with_it(head: Head, folder: Path) -> None:
    name = f"show-{secrets.token_hex(4)}"
    secret = {"AWS_SECRET_ACCESS_KEY": PLANTED, "AWS_ACCESS_KEY_ID": PLANTED, "MLFLOW_TRACKING_PASSWORD": PLANTED}
    endpoint = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    ended = head.submit(folder, "--id", name, "--wait", "show", "tiny.yaml", "train.seed=5", **secret, **endpoint)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == name and "# fingerprint" in ended.stderr and "seed: 5" in ended.stderr
    described = head.get(f"/api/jobs/{name}").decode()
    assert json.loads(described)["runtime_env"]["env_vars"].items() >= endpoint.items()
    assert PLANTED not in described + head.get("/api/jobs/").decode() + ended.stderr
    told = head.submit(folder, "status", name)
    assert told.returncode == 0 and told.stdout.startswith(f"{name}  SUCCEEDED"), told.stderr
    written = head.submit(folder, "logs", name)
    assert written.returncode == 0 and "# fingerprint" in written.stdout and "seed: 5" in written.stdout
    again = head.submit(folder, "--id", name, "show", "tiny.yaml")
    assert again.returncode == 1 and again.stderr.count("\n") == 1
    assert again.stderr.startswith("xmodal: ") and "submission id exists" in again.stderr


def test_a_failing_verb_ends_the_command_with_its_code(head: Head, folder: Path) -> None:
    """10, not found; for whoever looks later, too."""
    ended = head.submit(folder, "--wait", "check", "nothing-of-that-name")
    assert ended.returncode == 10 and "nothing-of-that-name: no checkpoint there" in ended.stderr
    followed = head.submit(folder, "logs", ended.stdout.strip(), "--wait")
    assert followed.returncode == 10 and "nothing-of-that-name: no checkpoint there" in followed.stdout
    told = head.submit(folder, "status", ended.stdout.strip())
    assert told.returncode == 0 and "FAILED" in told.stdout


@pytest.mark.parametrize("look", [["status"], ["logs"], ["logs", "--wait"]], ids=" ".join)
def test_a_job_that_the_cluster_does_not_know(head: Head, folder: Path, look: list[str]) -> None:
    ended = head.submit(folder, look[0], "nobodys-job", *look[1:])
    assert ended.returncode == 10 and ended.stderr.count("\n") == 1 and "no job nobodys-job there" in ended.stderr


def test_a_wrong_token_is_one_line(head: Head, folder: Path) -> None:
    ended = head.submit(folder, "status", "some-job", RAY_AUTH_TOKEN="ab" * 32)
    assert ended.returncode == 1 and ended.stderr.startswith("xmodal: ") and ended.stderr.count("\n") == 1


def test_train_runs_as_a_job_on_the_cluster_it_was_sent_to(head: Head, tmp_path: Path) -> None:
    """The recipe says `auto`: the job joins the Ray that runs it. What it says is what `train` says."""
    root = tmp_path / "elsewhere"
    prepared(str(root))
    folder = tmp_path / "folder"
    folder.mkdir()
    write_recipe(folder / "tiny.yaml", f"{root}/archive", str(root))
    where = ["compute.ray_address=auto", "compute.workers=1", "train.epochs=1"]
    ended = head.submit(folder, "--wait", "train", "tiny.yaml", *where)
    assert ended.returncode == 0 and "next: xmodal evaluate tiny-" in ended.stderr, ended.stderr
    (name,) = run_names(open_store(str(root)))
    assert Run(open_store(str(root)), name).read("result.json") is not None


def test_an_address_that_holds_a_password_is_not_sent(head: Head, folder: Path) -> None:
    ended = head.submit(folder, "show", "tiny.yaml", MLFLOW_TRACKING_URI=f"http://me:{PLANTED}@127.0.0.1:5000")
    assert ended.returncode == 1 and ended.stderr.startswith("xmodal: MLFLOW_TRACKING_URI: ")
    assert ended.stderr.count("\n") == 1 and PLANTED not in ended.stderr
