"""Sweeps for real: Ray Tune, Optuna and MLflow; killed in the middle and run again; a population that exchanges."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.storage import Store, open_store
from pipelines.train.runs import Run, run_names
from tests.conftest import REPOSITORY
from tests.pipelines.road import Ended, prepared, write_recipe, xmodal

pytestmark = [pytest.mark.ray, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(400)]

SPACE = """
description: Do rate <b>and</b> momentum matter?
search: {kind: asha, trials: 4, reduction: 2, sampler: random}
settings:
  model.momentum.coefficient: {kind: one_minus, low: 0.1, high: 0.5}
  train.optimizer.learning_rate: {kind: choice, values: [1e-3, 2e-3]}
"""
POPULATION = """
search: {kind: pbt, trials: 2, every: 4, quantile: 0.5, grace: 6}
settings:
  model.momentum.coefficient: {kind: one_minus, low: 0.1, high: 0.15}
  model.tasks.lm.weight: {kind: log_uniform, low: 0.4, high: 0.5}
"""
TRAIN = {"epochs": 6, "checkpoint_every": 2}
STEPS = 12
COMPUTE = {"workers": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The tiny dataset in a directory, the parent of every test's own copy."""
    url = str(tmp_path_factory.mktemp("tune") / "root")
    prepared(url)
    return open_store(url)


def recipe_of(folder: Path, root: Store, **tracking: str) -> Path:
    more = {"train": TRAIN, "compute": COMPUTE, "tracking": {"system_metrics": False, **tracking}}
    return write_recipe(folder / "tiny.yaml", f"{root.url}/archive", root.url, **more)


def tuned(folder: Path, *words: str | Path) -> Ended:
    outputs = ("--best", folder / "best.yaml", "--report", folder / "sweep.html")
    return xmodal("tune", *words, "--at-once", "2", *outputs)


def test_a_sweep_that_was_killed_goes_on_and_its_best_recipe_trains_nothing_more(
    root: Store, ray_cluster: str, mlflow_server, tmp_path: Path
) -> None:
    experiment = f"tune-{secrets.token_hex(4)}"
    recipe = recipe_of(tmp_path, root, uri=mlflow_server.uri, experiment=experiment)
    (tmp_path / "rates.yaml").write_text(SPACE)
    words = ["tune", str(tmp_path / "rates.yaml"), str(recipe), "--at-once", "1"]
    command = [sys.executable, "-m", "pipelines", *words]
    here = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=tmp_path, env=here, start_new_session=True) as driver:
        while not (len(complete(root)) == 1 and len(run_names(root)) == 2):
            time.sleep(0.3)
            assert driver.poll() is None
        driver.send_signal(signal.SIGKILL)
    before = {name: written(root, name) for name in complete(root)}
    ended = tuned(tmp_path, tmp_path / "rates.yaml", recipe)
    assert ended.code == 0, ended.err
    assert all(written(root, name) == found for name, found in before.items())
    print(ended.out, ended.err)


def complete(root: Store) -> list[str]:
    return [name for name in run_names(root) if Run(root, name).saved()[0].step == STEPS]


def written(root: Store, name: str) -> dict[str, str]:
    return {one.key: one.etag for one in root.list(f"runs/{name}") if "checkpoint" in one.key}


def test_a_population_exchanges_weights_and_finds_a_schedule(root: Store, ray_cluster: str, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, root)
    (tmp_path / "population.yaml").write_text(POPULATION)
    ended = tuned(tmp_path, tmp_path / "population.yaml", recipe)
    assert ended.code == 0, ended.err
    print(ended.out, ended.err, (tmp_path / "best.yaml").read_text())
    print([one.key for one in root.list("runs/population")])
