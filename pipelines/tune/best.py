"""The best trial as a recipe: a YAML file that `train` takes."""

from typing import Any

from pipelines.recipe import Recipe
from pipelines.tune.outcome import Outcome, value
from pipelines.tune.space import applied
from pipelines.tune.sweep import Sweep
from xmodal.settings import dump_yaml, flatten


def best_recipe(sweep: Sweep, recipe: Recipe, first: Outcome) -> str:
    """The recipe with what was drawn; comments say where it comes from, and how its values changed on the way."""
    lines = [
        f"best of sweep {sweep.name}: {first.best:.2f} in {first.step} of {first.steps} steps, run {first.run}",
        *_changes(first),
    ]
    return "".join(f"# {line}\n" for line in lines) + dump_yaml(applied(sweep.space, recipe, first.drawn))


def settings(sweep: Sweep, one: Outcome) -> dict[str, Any]:
    """The recipe's values of what was drawn."""
    leaves = flatten(sweep.trial(one.drawn))
    return {path: leaves.get(path, found) for path, found in one.drawn.items()}


def _changes(first: Outcome) -> list[str]:
    if len(first.schedule) < 2:
        return []
    told = [f"from step {step}: {', '.join(f'{path} {value(one)}' for path, one in drawn.items())}"
            for step, drawn in first.schedule]  # fmt: skip
    return ["its values changed on the way; trained by this file, the last ones hold from the start:", *told]
