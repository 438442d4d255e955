"""A run on a cluster whose nodes come and go: real raylets on this machine, one of them killed, one added."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from infra.storage import NotFound, Store, open_store
from pipelines.dataset import Dataset
from pipelines.recipe import load_recipe
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run, run_names
from tests.conftest import REPOSITORY
from tests.pipelines.nodes import Cluster
from tests.pipelines.road import history, prepared, stepped, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

MODEL = {"queue": {"size": 4096}}
"""Holds every sample of 170 epochs, in the order in which they were seen."""
TRAIN: dict[str, Any] = {"epochs": 400, "checkpoint_every": 1}
"""More than anybody waits for: the run is interrupted when it has shown what it does."""
COMPUTE = {"workers": [1, 2], "cpus_per_worker": 2, "resize_interval": 5, "start_timeout": 60, "health_timeout": 60}
"""A node of three CPUs holds one worker and the reader, one of two a worker."""
DEADLINE = 300.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(cpus=3) as made:
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
