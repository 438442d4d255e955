"""Sweeps for real: Ray Tune, Optuna, MLflow and S3; killed in the middle and run again; a population that exchanges."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.recipe import load_recipe
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run, run_names
from tests.conftest import REPOSITORY
from tests.pipelines.road import Ended, history, last, prepared, stepped, trained_run, write_recipe, xmodal

pytestmark = [pytest.mark.ray, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = """
description: Does the key encoder's pace matter?
search: {kind: asha, trials: 3, reduction: 2, sampler: random}
settings:
  model.momentum.coefficient: {kind: choice, values: [0.2, 0.4]}
"""
"""Of three trials with two values two are drawn alike."""
POPULATION = """
search: {kind: pbt, trials: 2, every: 6, quantile: 0.5, grace: 6}
settings:
  model.momentum.coefficient: {kind: one_minus, low: 0.1, high: 0.15}
  model.tasks.lm.weight: {kind: log_uniform, low: 0.4, high: 0.5}
"""
STEPS = 12
TRAIN = {"epochs": 6, "checkpoint_every": 2}


@pytest.fixture
def root(s3, ray_cluster: str, bucket_url: str) -> Iterator[Store]:
    """The tiny dataset on S3."""
    prepared(bucket_url)
    yield open_store(bucket_url)


def recipe_of(folder: Path, root: Store, workers: int, **tracking: str) -> Path:
    more = {"train": TRAIN, "compute": {"workers": workers}, "tracking": {"system_metrics": False, **tracking}}
    return write_recipe(folder / "tiny.yaml", f"{root.url}/archive", root.url, **more)


def tuned(folder: Path, *words: str | Path) -> Ended:
    outputs = ("--best", folder / "best.yaml", "--report", folder / "sweep.html")
    return xmodal("tune", *words, "--at-once", "1", *outputs)


def complete(root: Store) -> list[str]:
    return [name for name in run_names(root) if Run(root, name).saved()[0].step == STEPS]


def written(root: Store, name: str) -> dict[str, str]:
    """Key to etag of the checkpoints of a run."""
    return {one.key: one.etag for one in root.list(f"runs/{name}") if "checkpoint" in one.key}


def test_a_sweep_that_was_killed_goes_on_and_its_best_recipe_trains_nothing_more(
    root: Store, mlflow_server, tmp_path: Path
) -> None:
    experiment, space = f"tune-{secrets.token_hex(4)}", tmp_path / "pace.yaml"
    recipe = recipe_of(tmp_path, root, 1, uri=mlflow_server.uri, experiment=experiment)
    space.write_text(SPACE)

    def second_trains() -> bool:
        return len(complete(root)) == 1 and len(run_names(root)) == 2

    kill_when(second_trains, tmp_path, "tune", str(space), str(recipe), "--at-once", "1")
    before = {name: written(root, name) for name in complete(root)}
    assert len(before) == 1
    ended = tuned(tmp_path, space, recipe)
    first, *_ = ended.out.splitlines()
    assert ended.code == 0 and first.endswith("2 complete, 1 stopped"), "the rung of before the kill is remembered"
    assert {name: written(root, name) for name in complete(root)} == before, "what is drawn alike is trained once"
    assert len(run_names(root)) == 2

    report = (tmp_path / "sweep.html").read_text()
    again = tuned(tmp_path, space, recipe)
    assert again.out == ended.out and (tmp_path / "sweep.html").read_text() == report

    found = {name: written(root, name) for name in complete(root)}
    trained = xmodal("train", tmp_path / "best.yaml")
    assert trained.code == 0 and f"run {trained_run(trained)}" in ended.out.replace("  run ", "\nrun "), trained.err
    assert {name: written(root, name) for name in complete(root)} == found
    assert_trained_as_by_hand(tmp_path / "best.yaml", Run(root, trained_run(trained)))
    assert_nested(mlflow_server.uri, experiment, 2)


def kill_when(there: Callable[[], bool], folder: Path, *words: str) -> None:
    """Runs a verb in a process of its own, which is killed once it is `there`."""
    command, here = [sys.executable, "-m", "pipelines", *words], os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=folder, env=here, start_new_session=True) as driver:
        while not there():
            time.sleep(0.2)
            assert driver.poll() is None, "it ended before it could be killed"
        driver.send_signal(signal.SIGKILL)


def assert_trained_as_by_hand(recipe_path: Path, run: Run) -> None:
    """A trial's weights are those of the same recipe stepped in this process."""
    recipe = load_recipe([str(recipe_path)])
    plan = TrainingPlan.of(recipe, Dataset.open(run.store, recipe.data.name))
    model, _, losses = stepped(recipe, plan, STEPS)
    saved = safetensors.torch.load(run.store.read(f"{last(run)}/model.safetensors"))
    assert all(torch.equal(saved[name], model.state_dict()[name]) for name in saved)
    assert history(run.store, last(run), "train/loss") == pytest.approx(losses)


def assert_nested(uri: str, experiment: str, children: int) -> None:
    """One run of the sweep, the trials' below it, each with its curve; all have ended."""
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs: list[MlflowRun] = client.search_runs([found.experiment_id])
    (parent,) = [one for one in runs if "sweep" in one.data.tags]
    nested = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(nested) == children == len(runs) - 1
    assert {one.info.status for one in runs} == {"FINISHED"}
    assert all(one.data.metrics["val/score"] > 0 for one in nested)
    assert {one.path for one in client.list_artifacts(parent.info.run_id)} == {"best.yaml", "sweep.html"}


@pytest.mark.chaos
def test_a_population_exchanges_weights_and_finds_a_schedule(root: Store, tmp_path: Path) -> None:
    """One trial at a time; killed while one waits for the other, it goes on."""
    recipe, space = recipe_of(tmp_path, root, 1), tmp_path / "population.yaml"
    space.write_text(POPULATION)

    def one_waits() -> bool:
        return any(saved.step == 6 for name in run_names(root) for saved in Run(root, name).saved())

    kill_when(one_waits, tmp_path, "tune", str(space), str(recipe), "--at-once", "1")
    ended = tuned(tmp_path, space, recipe)
    assert ended.code == 0 and ": 2 complete\n" in ended.out, ended.out + ended.err
    chains = [found["schedule"] for name in run_names(root) if (found := Run(root, name).read("schedule.json"))]
    assert chains, "an exchange begins a run of its own, with the schedule that led to it"
    for (begin, first), *others in chains:
        assert begin == 0 and others and all(6 <= step < STEPS for step, _ in others)
        assert all(set(drawn) == set(first) and drawn != first for _, drawn in others)
        assert all(0.85 <= drawn["model.momentum.coefficient"] <= 0.9 for _, drawn in others)
    best = load_recipe([str(tmp_path / "best.yaml")])
    assert 0.1 <= best.model.momentum.coefficient <= 0.15


@pytest.mark.chaos
def test_a_trial_of_two_workers_is_cut_by_its_budget_and_goes_on(root: Store, tmp_path: Path) -> None:
    recipe, space = recipe_of(tmp_path, root, 2), tmp_path / "one.yaml"
    space.write_text(SPACE.replace("trials: 3", "trials: 1"))
    cut = tuned(tmp_path, space, recipe, "--hours", "0.0005")
    assert cut.code == 1 and "0.0005 device-hours are spent and 1 trials not over" in cut.err, cut.out + cut.err
    ended = tuned(tmp_path, space, recipe)
    assert ended.code == 0 and ": 1 complete\n" in ended.out, ended.out + ended.err
    assert complete(root) == run_names(root) and load_recipe([str(tmp_path / "best.yaml")]).compute.workers == 2
