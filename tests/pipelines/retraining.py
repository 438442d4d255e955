"""Recipes over surveys that arrive, and versions of them without Ray and MLflow."""

from typing import Any

from pipelines.dataset import Dataset
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from tests.pipelines.road import document
from xmodal.settings import merge, parse

RATE = {"epochs": 8, "global_batch": 28, "optimizer": {"learning_rate": 2e-3}}


def recipe_over(url: str, *names: str, **changes: Any) -> dict[str, Any]:
    """The recipe over the surveys `names` below `url`; `changes` are merged into it."""
    source = {"kind": "coco_camera_traps", "metadata": "metadata.json"}
    surveys = [{"name": name, "archive": f"{url}/{name}", "source": source} for name in names]
    found = document("", f"{url}/root", train=RATE, model={"tasks": {"itm": None, "lm": None}})
    found["data"] |= {"surveys": surveys, "split": {"kind": "place", "test": 0.4, "val": 0.1}}
    return merge(found, changes)


def version_of(recipe: Recipe) -> Dataset:
    """Its next dataset version, made in this process."""
    return flow.prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())


def parsed(url: str, *names: str, **changes: Any) -> Recipe:
    return parse(Recipe, recipe_over(url, *names, **changes))
