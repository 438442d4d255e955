"""The best trial as a recipe: a YAML file that `train` takes."""

from pipelines.recipe import Recipe
from pipelines.tune.outcome import Outcome, value
from pipelines.tune.space import applied, resolved
from pipelines.tune.sweep import Sweep
from xmodal.settings import dump_yaml


def best_recipe(sweep: Sweep, recipe: Recipe, first: Outcome) -> str:
    """The recipe with what was drawn; comments say where it comes from, and how its values changed on the way."""
    origin = f"best of sweep {sweep.name}: {first.best:.2f} in {first.step} of {first.steps} steps, run {first.run}"
    text = "".join(f"# {line}\n" for line in [origin, *_changes(sweep, first)])
    return text + dump_yaml(applied(sweep.space, recipe, first.drawn))


def _changes(sweep: Sweep, first: Outcome) -> list[str]:
    if len(first.schedule) < 2:
        return []
    told = []
    for step, drawn in first.schedule:
        values = resolved(sweep.trial(drawn), drawn)
        told.append(f"from step {step}: {', '.join(f'{path} {value(one)}' for path, one in values.items())}")
    return ["its values changed on the way; trained by this file, the last ones hold from the start:", *told]
