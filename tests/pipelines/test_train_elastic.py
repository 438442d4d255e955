"""A run on a cluster whose nodes come and go: real raylets on this machine, one of them killed, one added."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from infra.process import Child, free_ports, program
from infra.storage import NotFound, Store, open_store
from pipelines.dataset import Dataset
from pipelines.recipe import load_recipe
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run, run_names
from tests.conftest import REPOSITORY
from tests.pipelines.road import history, prepared, stepped, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

MODEL = {"queue": {"size": 4096}}
"""Holds every sample of 170 epochs, in the order in which they were seen."""
TRAIN: dict[str, Any] = {"epochs": 400, "checkpoint_every": 1}
"""More than anybody waits for: the run is interrupted when it has shown what it does."""
COMPUTE = {"workers": [1, 2], "cpus_per_worker": 2, "resize_interval": 5, "start_timeout": 60, "health_timeout": 60}
"""A node of three CPUs holds one worker and the reader, one of two a worker."""
DEADLINE = 300.0
QUICK = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


class Cluster:
    """A head of three CPUs on the loopback, and nodes of two; all end with the block."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="xr-", dir="/tmp"))  # Ray's socket paths must stay short
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = dict(os.environ) | token | QUICK | {"PATH": path, "OMP_NUM_THREADS": "1"}
        self.port = free_ports(1)[0]
        self.stack = ExitStack()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> "Cluster":
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        head = self._start("head", "--head", f"--port={self.port}", "--num-cpus=3", "--include-dashboard=false",
                           f"--temp-dir={self.directory / 'r'}")  # fmt: skip
        head.wait_until(self._answers, 120)
        return self

    def __exit__(self, *raised: object) -> None:
        self.stack.close()

    def node(self, name: str) -> Child:
        """A node of two CPUs that joins."""
        return self._start(name, f"--address={self.address}", "--num-cpus=2")

    def _start(self, name: str, *options: str) -> Child:
        ray = program("ray")
        assert ray is not None
        common = [
            "--block",
            "--disable-usage-stats",
            "--node-ip-address=127.0.0.1",
            f"--object-store-memory={96 << 20}",
        ]
        command = [ray, "start", *common, *options]
        return self.stack.enter_context(Child(command, self.directory / f"{name}.log", self.environment))

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


def newest(store: Store) -> tuple[int, int]:
    """Step and number of workers of the newest checkpoint; zeros where there is none."""
    for name in run_names(store):
        run = Run(store, name)
        for saved in run.saved()[:1]:
            try:
                return saved.step, json.loads(store.read(f"{run.prefix}/{saved.directory}/state.json"))["world_size"]
            except NotFound:  # a better one took its place
                return newest(store)
    return 0, 0


def wait_for(what: Callable[[], bool], driver: subprocess.Popen[str], told: Path) -> float:
    """Seconds until it is so."""
    begun = time.monotonic()
    while not what():
        assert driver.poll() is None, told.read_text()
        assert time.monotonic() - begun < DEADLINE, told.read_text()
        time.sleep(0.2)
    return time.monotonic() - begun


def test_a_run_goes_on_with_fewer_workers_when_a_node_dies_and_with_more_when_one_comes(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "root")
    prepared(root, model=MODEL, train=TRAIN)
    compute = COMPUTE | {"ray_address": cluster.address}
    path = write_recipe(tmp_path / "tiny.yaml", f"{root}/archive", root, model=MODEL, train=TRAIN, compute=compute)
    store, told = open_store(root), tmp_path / "driver.log"
    node = cluster.node("first")
    command = [sys.executable, "-m", "pipelines", "train", str(path)]
    with told.open("w") as output:
        driver = subprocess.Popen(
            command, cwd=REPOSITORY, env=cluster.environment, stdout=output, stderr=output, text=True
        )
    try:
        wait_for(lambda: newest(store)[0] >= 4 and newest(store)[1] == 2, driver, told)
        node.signal(signal.SIGKILL)
        died = newest(store)[0]
        shrunk = wait_for(lambda: newest(store)[1] == 1, driver, told)
        cluster.node("second")
        alone = newest(store)[0]
        grown = wait_for(lambda: newest(store)[1] == 2, driver, told)
        again = newest(store)[0]
        wait_for(lambda: newest(store)[0] >= again + 5, driver, told)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(DEADLINE) == 130, told.read_text()
    finally:
        driver.kill()
        driver.wait()
    with capsys.disabled():
        print(f"\nstep {died}: node killed; step {alone}: 1 worker, {shrunk:.0f} s; step {again}: 2, {grown:.0f} s")
    assert 4 <= died < alone < again
    recipe = load_recipe([str(path)])
    plan = TrainingPlan.of(recipe, Dataset.open(store, "tiny"))
    (name,) = run_names(store)
    run = Run(store, name)
    end = run.saved()[0]
    model, _, losses = stepped(recipe, plan, end.step)
    last = f"{run.prefix}/{end.directory}"
    seen = safetensors.torch.load(store.read(f"{last}/queue.safetensors"))["sample_id"].tolist()
    assert seen == model.queue.state()["sample_id"].tolist()
    images = len(plan.order.rows)
    epochs = [seen[start : start + images] for start in range(0, end.step // plan.order.batches * images, images)]
    assert all(len(set(one)) == images for one in epochs), "each sample once an epoch"
    assert history(store, last, "train/loss") == pytest.approx(losses, rel=1e-3)
