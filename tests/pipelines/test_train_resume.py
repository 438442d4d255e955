"""Training that is killed, damaged or shared otherwise ends where an undisturbed run does; real kills, real S3."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import safetensors.torch
import torch

from infra.curves import NoCurves
from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.recipe import load_recipe
from pipelines.train import flow
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run, resumable, run_names
from pipelines.train.saves import local
from tests.conftest import BUCKET, REPOSITORY
from tests.pipelines.road import (
    assert_same_end,
    contents,
    copy,
    flip,
    history,
    last,
    prepared,
    trained_run,
    write_recipe,
    xmodal,
)
from xmodal import checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = 12
LONG: dict[str, Any] = {"epochs": STEPS // 2, "checkpoint_every": 1}
"""Each step with a checkpoint: enough to be killed behind ten of them."""
DEADLINE = 240.0


@pytest.fixture(scope="module")
def dataset(s3) -> Iterator[Store]:
    """A root that holds the tiny dataset and nothing else, and the S3 server in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        url = f"s3://{BUCKET}/resume-{os.getpid()}"
        prepared(url)
        yield open_store(url)


@pytest.fixture
def train(dataset: Store, ray_cluster: str, tmp_path: Path) -> Callable[..., Run]:
    return partial(trained, dataset, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(dataset: Store, ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(dataset, tmp_path_factory.mktemp("recipes"), "undisturbed")


@pytest.fixture(scope="module")
def alone(dataset: Store, ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same by one worker."""
    return trained(dataset, tmp_path_factory.mktemp("recipes"), "alone", workers=1)


def trained(
    dataset: Store,
    folder: Path,
    name: str,
    *overrides: str,
    root: Store | None = None,
    workers: int = 2,
    train: dict[str, Any] = LONG,
) -> Run:
    """The run that the long recipe came to, in a root of its own or in `root`."""
    store = root or fresh_root(dataset, name)
    recipe = recipe_of(folder / f"{name}.yaml", dataset, store, workers, train)
    ended = xmodal("train", recipe, *overrides)
    assert ended.code == 0, ended.err
    return Run(store, trained_run(ended))


def fresh_root(dataset: Store, name: str) -> Store:
    """A root with the dataset alone."""
    store = open_store(f"{dataset.url}-{name}")
    copy(dataset.child("datasets"), store.child("datasets"))
    return store


def recipe_of(path: Path, dataset: Store, root: Store, workers: int, train: dict[str, Any]) -> Path:
    compute = {"workers": workers}
    return write_recipe(path, f"{dataset.url}/archive", root.url, train=train, compute=compute)


@contextmanager
def killing(
    run: Run, victims: Callable[[], list[int]], steps: Sequence[int], number: int = signal.SIGKILL
) -> Iterator[list[int]]:
    """Signals one of the processes that `victims` finds once the run has a checkpoint of the first step or later; then,
    when these have gone and the run has another checkpoint, one of the next, and so on. Yields who was signalled."""
    signalled: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        gone, past = set[int](), 0
        for step in steps:
            while not ended.wait(0.05):
                newest = max((saved.step for saved in run.saved()), default=0)
                there = victims() if newest >= step and newest > past else []
                if there and not gone.intersection(there):
                    os.kill(max(there), number)
                    signalled.append(max(there))
                    gone.update(there)
                    past = newest
                    break

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield signalled
    finally:
        ended.set()
        thread.join()


def training_workers() -> list[int]:
    """This process's own Ray training workers."""
    own = psutil.Process().children(recursive=True)
    return [child.pid for child in own if "RayTrainWorker" in _command(child)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_a_run_that_resumes_ten_times_is_one_that_never_stopped(
    train: Callable[..., Run], dataset: Store, alone: Run
) -> None:
    """Its worker dies behind each of the first ten checkpoints; every start makes at least one."""
    store = fresh_root(dataset, "ten")
    with killing(Run(store, alone.name), training_workers, range(1, 11)) as killed:
        run = train("ten", "compute.max_failures=10", root=store, workers=1)
    assert len(killed) == 10 and local(run) == []
    assert_same_end(run, alone)


@pytest.mark.chaos
def test_an_interrupted_run_is_continued_by_the_same_command(
    train: Callable[..., Run], dataset: Store, undisturbed: Run, tmp_path: Path
) -> None:
    """tests/chaos kills the driver."""
    store = fresh_root(dataset, "driver")
    recipe = recipe_of(tmp_path / "recipe.yaml", dataset, store, 2, LONG)
    run = Run(store, undisturbed.name)
    code, told = signalled(run, recipe, after=3, number=signal.SIGINT)
    assert code == 130, told
    assert told.splitlines()[-1] == "interrupted; run the same command again to continue"
    assert run.read("result.json") is None and 3 <= run.saved()[0].step < STEPS
    train("driver", root=store)
    assert_same_end(run, undisturbed)


def signalled(run: Run, recipe: Path, after: int, number: int) -> tuple[int, str]:
    """`xmodal train`, signalled once the run has a checkpoint of step `after`: its exit code and what it wrote."""
    command = [sys.executable, "-m", "pipelines", "train", str(recipe)]
    driver = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    with killing(run, lambda: [driver.pid], [after], number) as killed:
        _, told = driver.communicate(timeout=DEADLINE)
    assert killed == [driver.pid], told
    return driver.returncode, told


def test_one_worker_makes_the_losses_of_two(alone: Run, undisturbed: Run) -> None:
    assert alone.name == undisturbed.name, "where a run is computed is no part of its identity"
    for curve in ("train/itc", "train/itm", "train/lm", "train/grad_norm"):
        ours, theirs = (history(run.store, last(run), curve)[:6] for run in (alone, undisturbed))
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5), curve
    ours, theirs = (history(run.store, last(run), "queue/fill") for run in (alone, undisturbed))
    assert ours == theirs
    assert history(alone.store, last(alone), "time/slowest_worker") == [1.0]
    assert all(ratio >= 1 for ratio in history(undisturbed.store, last(undisturbed), "time/slowest_worker"))
    assert all(0 <= share <= 1 for share in history(alone.store, last(alone), "time/data_wait"))


def test_the_best_and_the_last_checkpoints_stay(undisturbed: Run) -> None:
    """Of all, however many came behind the best one."""
    scores, kept = history(undisturbed.store, last(undisturbed), "val/score"), undisturbed.saved()
    assert len(scores) == STEPS == kept[0].step and 2 <= len(kept) <= 3
    assert undisturbed.best()[0].metrics["score"] == max(scores)


def test_a_damaged_checkpoint_is_passed_over_and_another_number_of_workers_goes_on_alike(
    train: Callable[..., Run], undisturbed: Run
) -> None:
    """The newest checkpoint that verifies is the one that counts."""
    store = open_store(f"{undisturbed.store.url}-damaged")
    copy(undisturbed.store, store)
    run = Run(store, undisturbed.name)
    newest, before = run.saved()[:2]
    flip(store, f"{run.prefix}/{newest.directory}/model.safetensors")
    assert resumable(run) == before
    run.delete("result.json")
    train("damaged", root=store, workers=1)
    for curve in ("train/itc", "train/itm", "train/lm", "train/grad_norm", "queue/fill"):
        ours, theirs = (history(one.store, last(one), curve) for one in (run, undisturbed))
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3), curve
    assert queue_ids(run) == queue_ids(undisturbed)


def test_a_sharded_queue_trains_alike_and_goes_on_at_another_number_of_workers(
    dataset: Store, ray_cluster: str, undisturbed: Run, tmp_path: Path
) -> None:
    """Compared at every step; its checkpoints are those of a whole queue."""
    store = fresh_root(dataset, "sharded")

    def trained(workers: int) -> Run:
        recipe = write_recipe(
            tmp_path / "sharded.yaml",
            f"{dataset.url}/archive",
            store.url,
            model={"queue": {"sharded": True}},
            train=LONG | {"check_alike_every": 1},
            compute={"workers": workers},
        )
        ended = xmodal("train", recipe)
        assert ended.code == 0, ended.err
        return Run(store, trained_run(ended))

    run, curves = trained(workers=2), ("train/itc", "train/itm", "train/lm", "train/grad_norm", "queue/age")
    assert queue_ids(run) == queue_ids(undisturbed)
    for curve in curves:
        ours, theirs = (history(one.store, last(one), curve)[:6] for one in (run, undisturbed))
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5), curve
    flip(store, f"{last(run)}/queue.safetensors")
    run.delete("result.json")
    again = trained(workers=1)
    assert again.name == run.name and queue_ids(again) == queue_ids(undisturbed)
    for curve in curves:
        ours, theirs = (history(one.store, last(one), curve) for one in (again, undisturbed))
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3), curve


def queue_ids(run: Run) -> Any:
    return safetensors.torch.load(run.store.read(f"{last(run)}/queue.safetensors"))["sample_id"].tolist()


def test_a_run_that_only_lacks_its_result_gets_one(train: Callable[..., Run], undisturbed: Run) -> None:
    store = open_store(f"{undisturbed.store.url}-told")
    copy(undisturbed.store, store)
    run = Run(store, undisturbed.name)
    result = run.read("result.json")
    run.delete("result.json")
    before = run.saved()
    assert train("told", root=store).read("result.json") == result and run.saved() == before


def test_a_group_restarted_behind_its_last_step_ends_well(undisturbed: Run, dataset: Store, tmp_path: Path) -> None:
    """As after a worker that dies when all is done."""
    recipe = load_recipe((str(recipe_of(tmp_path / "recipe.yaml", dataset, undisturbed.store, 2, LONG)),))
    plan = TrainingPlan.of(recipe, Dataset.open(undisturbed.store, recipe.data.name))
    with flow.shown_progress(plan.total_samples) as progress:
        job = flow.Job(recipe.model_dump(mode="json"), plan, undisturbed, NoCurves(), progress)
        before = undisturbed.saved()
        flow._finish(flow.trainer(recipe, plan, undisturbed, job))
        assert undisturbed.saved() == before and ray.get(progress.stopped.remote()) is None


def test_a_checkpoint_of_another_run_is_not_gone_on_from(undisturbed: Run, dataset: Store, tmp_path: Path) -> None:
    store = fresh_root(dataset, "foreign")
    recipe = recipe_of(tmp_path / "recipe.yaml", dataset, store, 2, LONG | {"seed": 7})
    loaded = load_recipe((str(recipe),))
    digest = Dataset.open(store, loaded.data.name).digest
    run = flow.choose_run(store, loaded, digest, False)
    copy(undisturbed.store.child(undisturbed.prefix), store.child(run.prefix))
    run.delete("result.json")
    before = contents(store)
    ended = xmodal("train", recipe)
    assert ended.code == 1 and f"is a checkpoint of the run {undisturbed.name}" in ended.line
    assert contents(store) == before


def test_no_good_checkpoint_is_said_and_not_trained_over(undisturbed: Run, dataset: Store, tmp_path: Path) -> None:
    store = open_store(f"{undisturbed.store.url}-lost")
    copy(undisturbed.store, store)
    run = Run(store, undisturbed.name)
    for saved in run.saved():
        flip(store, f"{run.prefix}/{saved.directory}/queue.safetensors")
    run.delete("result.json")
    with pytest.raises(checkpoint.Damaged, match=r"queue\.safetensors.*; .*queue\.safetensors"):
        resumable(run)
    ended = xmodal("train", recipe_of(tmp_path / "recipe.yaml", dataset, store, 2, LONG))
    assert ended.code == 1 and "queue.safetensors" in ended.line


def test_a_run_that_blows_up_ends_in_one_line_and_leaves_the_runs_beside_it(
    undisturbed: Run, dataset: Store, tmp_path: Path
) -> None:
    """The rate rises from zero, so the checkpoint behind the first step is still a good one; the next is not taken.

    Whether weights of 1e29 give numbers to the validation behind their step is the machine's: the next loss is the last
    to notice (that it names its task: test_loop). Another fingerprint starts a run of its own."""
    store = undisturbed.store
    files = contents(store)
    rates = {"learning_rate": 1e30, "warmup_fraction": 0.5}
    wild = {"epochs": 4, "checkpoint_every": 1, "optimizer": rates, "seed": 7}
    recipe = recipe_of(tmp_path / "recipe.yaml", dataset, store, 2, wild)
    begun = time.monotonic()
    ended = xmodal("train", recipe)
    assert ended.code == 1 and "stopped at step 2" in ended.line
    named = r"the loss of (itc|itm|lm)(, (itm|lm))* is"
    assert re.search(rf"({named}|embeddings of the validation images are) not finite", ended.line)
    assert time.monotonic() - begun < DEADLINE
    (name,) = set(run_names(store)) - {undisturbed.name}
    wild_run = Run(store, name)
    assert wild_run.read("result.json") is None and resumable(wild_run) is not None
    assert xmodal("check", name, "--root", store.url).code == 0
    losses = [history(store, last(run), "train/loss") for run in (wild_run, undisturbed)]
    assert len(losses[0]) == 1 and losses[0][0] != losses[1][0], "from its first step on, in another order"
    assert files.items() <= contents(store).items()


@contextmanager
def something_else(free: int) -> Iterator[None]:
    """A task that holds all CPUs of the cluster but `free`."""

    @ray.remote(num_cpus=int(ray.cluster_resources()["CPU"]) - free)
    def holding() -> None:
        time.sleep(DEADLINE)

    other = holding.remote()
    try:
        yield
    finally:
        ray.cancel(other, force=True)


def test_a_first_batch_that_does_not_come_is_said_in_one_line(dataset: Store, ray_cluster: str, tmp_path: Path) -> None:
    """Something else holds the CPUs that reading would need."""
    recipe = recipe_of(tmp_path / "recipe.yaml", dataset, fresh_root(dataset, "nothing"), 2, LONG)
    with something_else(2):
        ended = xmodal("train", recipe, "compute.first_batch_timeout=8", "compute.max_failures=0")
    assert ended.code == 1 and "no first batch within 8 s" in ended.line and "0 are free" in ended.line


def test_workers_that_do_not_start_are_said_in_one_line(
    dataset: Store, ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else holds the CPUs that they would need."""
    monkeypatch.delenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", raising=False)
    recipe = recipe_of(tmp_path / "recipe.yaml", dataset, fresh_root(dataset, "late"), 2, LONG)
    with something_else(1):
        ended = xmodal("train", recipe, "compute.start_timeout=5", "compute.max_failures=0")
    assert ended.code == 1 and "2 training workers did not start within compute.start_timeout" in ended.line
    assert "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S" not in os.environ


def test_what_a_worker_would_refuse_is_refused_before_any_starts(dataset: Store, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "recipe.yaml", dataset, fresh_root(dataset, "early"), 2, LONG)
    ended = xmodal("train", recipe, "train.init_from=nobody")
    assert ended.code == 10 and "nobody: no checkpoint there" in ended.line
    ended = xmodal("train", recipe, f"model.image={{kind: hugging_face, path: {tmp_path}}}")
    assert ended.code == 2 and str(tmp_path) in ended.line
    if not torch.cuda.is_available():
        ended = xmodal("train", recipe, "compute.gpu=true")
        assert ended.code == 1 and "the workers hold 2 GPUs, but the Ray cluster has 0" in ended.line
