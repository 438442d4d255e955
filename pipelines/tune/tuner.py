"""The sweep as Ray Tune is told of it: new, or restored where it stands."""

import logging
import os
from dataclasses import dataclass, field
from random import Random
from typing import Any

import optuna
from pyarrow.fs import PyFileSystem
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from infra.storage.files import StoreFiles
from pipelines.recipe import ComputeSettings
from pipelines.tune.room import resources
from pipelines.tune.schedulers import Population, Rungs
from pipelines.tune.searches import Asha, Pbt
from pipelines.tune.space import Space, drawn, mutated
from pipelines.tune.sweep import FOLDER, Sweep
from pipelines.tune.trial import trial
from pipelines.tune.watch import Watch

SCORE: dict[str, Any] = {"metric": "score", "mode": "max"}
"""`val/score` is rsum or mAP@R: no weight under search has a part in it."""
QUIET = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "5", "RAY_AIR_NEW_OUTPUT": "0"}
"""Of Tune's files only its state is kept, and that often: what a killed sweep loses is drawn again, alike."""
SAMPLERS = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


@dataclass
class Drawing:
    """What OptunaSearch asks for each trial."""

    space: Space

    def __call__(self, trial: Any) -> dict[str, Any]:
        return {"drawn": drawn(self.space, lambda path, domain: domain.draw(trial, path))}


@dataclass
class Mutating:
    """What PBT asks where a trial is to follow another one: that one's values, each moved within its bounds."""

    space: Space
    random: Random = field(default_factory=Random)

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        return config | {"drawn": mutated(self.space, config["drawn"], self.random)}


def asha(space: Space, search: Asha, at_once: int, grace: int, steps: int) -> dict[str, Any]:
    """Rungs at `grace`, then `reduction` times as late each, in optimizer steps, which only grow."""
    sampler = SAMPLERS[search.sampler](seed=search.seed)
    return {
        "search_alg": OptunaSearch(space=Drawing(space), sampler=sampler, **SCORE),
        "scheduler": Rungs(
            "step", max_t=steps, grace_period=grace, reduction_factor=search.reduction, stop_last_trials=False
        ),
        "num_samples": search.trials,
        "max_concurrent_trials": at_once,
    }


def pbt(space: Space, search: Pbt, grace: int, steps: int) -> dict[str, Any]:
    """All of the population wait for each other at an exchange, so that whom they follow is no step ahead. How many
    train at once is left to the claims: Tune's own limit would begin a trial only when one before it has ended."""
    scheduler = Population(
        "step",
        perturbation_interval=search.every or max(1, steps // 10),
        burn_in_period=grace,
        quantile_fraction=search.quantile,
        custom_explore_fn=Mutating(space, Random(search.seed)),
        log_config=False,
        synch=True,
    )
    return {"scheduler": scheduler, "num_samples": 1}


def population(space: Space, search: Pbt) -> dict[str, Any]:
    """What the trials of a population begin with: all there from the start, however many."""
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(search.trials)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=search.seed))
    return {"drawn": tune.grid_search([Drawing(space)(study.ask())["drawn"] for _ in range(search.trials)])}


def tuner(
    sweep: Sweep, compute: ComputeSettings, claims: Any, watch: Watch, at_once: int, grace: int, steps: int
) -> tune.Tuner:
    """Ready to fit. A restored one keeps the trials, the draws and the number at once that it had; trials that were
    running or had failed go on."""
    _quieten()
    runs = tune.with_resources(tune.with_parameters(trial, sweep=sweep, claims=claims), resources(compute))
    files = PyFileSystem(StoreFiles(sweep.store, compute.store_patience))
    if tune.Tuner.can_restore(sweep.prefix, storage_filesystem=files):
        found = tune.Tuner.restore(sweep.prefix, runs, True, True, storage_filesystem=files)
        found._local_tuner.get_run_config().callbacks = [watch]  # pyright: ignore  # the old one watched another cluster
        return found
    space, search = sweep.space, sweep.space.search
    if isinstance(search, Asha):
        param_space, config = None, asha(space, search, at_once, grace, steps)
    else:
        param_space, config = population(space, search), pbt(space, search, grace, steps)
    return tune.Tuner(
        runs,
        param_space=param_space,
        tune_config=tune.TuneConfig(**SCORE, **config, trial_dirname_creator=_folder),
        run_config=tune.RunConfig(
            name=sweep.name,
            storage_path=FOLDER,
            storage_filesystem=files,
            failure_config=tune.FailureConfig(max_failures=compute.max_failures),
            callbacks=[watch],
            verbose=0,
        ),
    )


def _folder(trial: Any) -> str:
    """Of what Tune keeps of a trial."""
    return f"trial-{trial.trial_id}"


def _quieten() -> None:
    os.environ.update(QUIET)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what went wrong stands in the table and on the page
    optuna.logging.set_verbosity(optuna.logging.ERROR)
