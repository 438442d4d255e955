"""Memory that does not suffice ends in one line; allocations that really fail, and a real kill by Ray."""

import resource
import secrets
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import torch
from ray.exceptions import OutOfMemoryError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from infra.cluster import local_ray
from infra.curves import NoCurves
from pipelines.dataset import Dataset
from pipelines.errors import Failed
from pipelines.recipe import load_recipe
from pipelines.train import flow
from pipelines.train.failures import explained
from pipelines.train.out_of_memory import OutOfMemory, memory_told
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run
from tests.pipelines.road import prepared, write_recipe, xmodal

HELP = ("train.accumulate", "train.precision: bf16", "compute.gradient_checkpointing: true", "model.queue.size")
TOO_MUCH = 1 << 60
"""Bytes that no machine has."""


def refused_by_torch() -> None:
    torch.empty(TOO_MUCH, dtype=torch.uint8)


def refused_by_numpy() -> None:
    np.empty(TOO_MUCH, np.uint8)


def refused_by_the_system() -> None:
    """An allocation that the machine has room for, in a process that may take no more."""
    limits, taken = resource.getrlimit(resource.RLIMIT_AS), psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (taken, limits[1]))
    try:
        torch.empty(1 << 30, dtype=torch.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("fail", [refused_by_torch, refused_by_numpy, refused_by_the_system])
def test_an_allocation_that_fails_is_one_line_with_what_helps(fail: Any) -> None:
    with pytest.raises(OutOfMemory) as raised, memory_told():
        fail()
    line = str(raised.value)
    assert line.startswith("out of memory on ") and "\n" not in line and all(words in line for words in HELP)
    assert (f"where {1 << 30} bytes were asked for" in line) == (fail is refused_by_the_system)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_so_is_one_on_a_device() -> None:
    with pytest.raises(OutOfMemory, match=r"where [\d.]+ \w+ were asked for"), memory_told():
        torch.empty(TOO_MUCH >> 12, dtype=torch.uint8, device="cuda")


def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="size of tensor") as raised, memory_told():
        torch.ones(2).add(torch.ones(3))
    assert not isinstance(raised.value, Failed)


@pytest.mark.ray
def test_a_queue_that_fits_no_machine_and_never_fills_is_said_before_ray_starts(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    prepared(root)
    recipe = write_recipe(tmp_path / "tiny.yaml", f"{root}/archive", root)
    ended = xmodal("train", recipe, "model.queue.size=1000000000000000")
    assert ended.code == 1 and "out of memory on " in ended.line and "model.queue.size" in ended.line
    assert "warning: model.queue.size 1000000000000000: the run sees " in ended.err


class Hungry(NoCurves):
    """The first worker, while the others wait for it, asks for more than there is; it leaves a line in `file`."""

    def __init__(self, file: Path):
        self.file = file

    def log(self, step: int, metrics: Any) -> None:
        if step == 2:
            with self.file.open("a") as lines:
                print("asked", file=lines)
            refused_by_torch()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_without_memory_ends_the_run_and_is_not_tried_again(ray_cluster: str, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    prepared(root)
    changes = {"train": {"epochs": 4}, "compute": {"max_failures": 3}}
    recipe = load_recipe([str(write_recipe(tmp_path / "tiny.yaml", f"{root}/archive", root, **changes))])
    store = recipe.compute.store()
    plan = TrainingPlan.of(recipe, Dataset.open(store, "tiny"))
    run = Run(store, f"hungry-{secrets.token_hex(4)}")
    with flow.shown_progress(plan.total_samples) as board:
        job = flow.Job(recipe.model_dump(mode="json"), plan, run, Hungry(tmp_path / "asked"), board)
        with pytest.raises(Failed, match=r"out of memory on .*train\.accumulate"):
            flow._finish(flow.trainer(recipe, plan, run, job))
        assert run.name in ray.get(board.stopped.remote())
    assert (tmp_path / "asked").read_text() == "asked\n", "one group alone"


@ray.remote(num_cpus=0)
class Idle:
    def wait(self) -> None:
        time.sleep(60)


def killed_by_ray(folder: str) -> Exception | None:
    """What Ray says of an actor on a node that counts as full from the first byte on."""
    full = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "200"}
    with local_ray(1, folder, environment=full):
        try:
            ray.get(Idle.remote().wait.remote())
        except OutOfMemoryError as error:
            return error


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_worker_that_ray_killed_for_memory_is_said_so(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a cluster of its own
        error = pool.submit(killed_by_ray, str(tmp_path / "ray")).result(timeout=200)
    assert error is not None
    dead = WorkerHealthCheckFailedError("a worker health check failed", error)
    told = explained(WorkerGroupError("", {0: RuntimeError("Connection closed by peer"), 1: dead}))
    assert isinstance(told, Failed)
    line = str(told)
    assert line.startswith("Ray killed a training worker because its node (") and "\n" not in line
    assert all(words in line for words in HELP)
