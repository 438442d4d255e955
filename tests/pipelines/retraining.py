"""Recipes over surveys that arrive, and versions of them without Ray and MLflow."""

from typing import Any

import torch

from pipelines.dataset import Dataset
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.served import mlflow_run, record_model
from pipelines.tracked import tracked
from pipelines.train.descent import Descent
from pipelines.train.flow import choose_run
from pipelines.train.plan import TrainingPlan, build_model, warm_start
from pipelines.train.runs import Run, sound
from tests.pipelines.road import descended, document, run_of
from xmodal.settings import merge, parse

RATE = {"epochs": 8, "global_batch": 28, "optimizer": {"learning_rate": 2e-3}}


def recipe_over(url: str, *names: str, **changes: Any) -> dict[str, Any]:
    """The recipe over the surveys `names` below `url`; `changes` are merged into it."""
    source = {"kind": "coco_camera_traps", "metadata": "metadata.json"}
    surveys = [{"name": name, "archive": f"{url}/{name}", "source": source} for name in names]
    found = document("", f"{url}/root", train=RATE, model={"tasks": {"itm": None, "lm": None}})
    found["data"] |= {"surveys": surveys, "split": {"kind": "place", "test": 0.4, "val": 0.1}}
    return merge(found, changes)


def tracking(uri: str, model: str) -> dict[str, Any]:
    """The part of a recipe that registers what it trains as `model`."""
    return {"uri": uri, "experiment": model, "register_as": model, "system_metrics": False}


def version_of(recipe: Recipe) -> Dataset:
    """Its next dataset version, made in this process."""
    return flow.prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())


def parsed(url: str, *names: str, **changes: Any) -> Recipe:
    return parse(Recipe, recipe_over(url, *names, **changes))


def complete(recipe: Recipe, dataset: Dataset) -> tuple[Run, str]:
    """The run of `recipe`, trained and recorded here as `xmodal train` does it with Ray; and its MLflow run."""
    store, plan = recipe.compute.store(), TrainingPlan.of(recipe, dataset)
    run = choose_run(store, recipe, plan.digest, again=False)
    torch.manual_seed(recipe.train.seed)  # as a worker does, whatever other tests have drawn
    model = build_model(recipe, dataset)
    warm_start(model, recipe, store)
    descent = Descent(model, recipe.train, plan.total_samples)
    descended(recipe, plan, descent, 0, plan.total_steps)
    with tracked(recipe, run, plan) as tracking:
        run_of(recipe, model, run.name, mlflow_run(run))
        with sound(run, run.best()) as (best, directory):
            record_model(tracking, recipe, directory)
        run.write("result.json", {"run": run.name, "checkpoint": best.directory, "step": 0, "metrics": best.metrics})
    return run, mlflow_run(run)
