"""A population on a toy that trains nothing: one that fails keeps nobody waiting, and the last step has no exchange."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from pipelines.tune.schedulers import Population

pytestmark = [pytest.mark.ray, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(300)]

STEPS, EVERY, GRACE = 12, 4, 4


def toy(config: dict[str, Any]) -> None:
    """Scores what was drawn, and goes on where its checkpoint is; -1 fails while both others wait at an exchange."""
    found = tune.get_checkpoint()
    step = 0 if found is None else json.loads((Path(found.path) / "step.json").read_text())
    for at in range(step + 2, STEPS + 1, 2):
        (Path(config["folder"]) / f"{config['drawn']}-{at}").touch()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "step.json").write_text(json.dumps(at))
            figures = {"step": at, "steps": STEPS, "score": config["drawn"], "curve": [[at, config["drawn"]]]}
            tune.report(figures, checkpoint=tune.Checkpoint.from_directory(folder))  # pyright: ignore
        if config["drawn"] == -1:
            while not all((Path(config["folder"]) / f"{one}-{GRACE}").exists() for one in (1, 2)):
                time.sleep(0.1)
            time.sleep(3)
            return


def test_who_fails_is_not_waited_for(ray_cluster: str, tmp_path: Path) -> None:
    asked: list[int] = []
    scheduler = Population(
        "step",
        perturbation_interval=EVERY,
        burn_in_period=GRACE,
        quantile_fraction=0.5,
        custom_explore_fn=lambda config: asked.append(config["drawn"]) or config,
        log_config=False,
        synch=True,
    )
    found = tune.Tuner(
        toy,
        param_space={"folder": str(tmp_path), "drawn": tune.grid_search([1, 2, -1])},
        tune_config=tune.TuneConfig(metric="score", mode="max", scheduler=scheduler),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
    ).fit()
    assert sorted((one.metrics or {})["step"] for one in found) == [2, STEPS, STEPS]
    assert asked == [2], "at 8 the one that is behind follows the other; not at 4, without the third, and not at 12"
