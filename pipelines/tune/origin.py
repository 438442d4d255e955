"""Which run a trial trains, and what it begins with.

A trial of ASHA is the run of its recipe, by its fingerprint: the one that `xmodal train` would train, so whatever was
trained before, by a trial of any sweep or by hand, is taken. A trial of PBT is a chain of runs, one for each set of
values; each begins with a whole checkpoint of the one before, or of the trial that it was told to follow, key encoder,
queue, optimizer and step too. What Tune hands from trial to trial is a pointer to that checkpoint.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from ray import tune

from pipelines.recipe import Recipe
from pipelines.train.alone import register
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run, Saved, sound
from pipelines.tune.space import Drawn
from pipelines.tune.sweep import Sweep
from xmodal import checkpoint

POINTER = "pointer.json"
SCHEDULE = "schedule.json"


def by_recipe(sweep: Sweep, recipe: Recipe, plan: TrainingPlan, config: dict[str, Any]) -> Run:
    return Run(sweep.store, f"{recipe.name}-{recipe.fingerprint(plan.digest)}-0")


def by_pointer(sweep: Sweep, recipe: Recipe, plan: TrainingPlan, config: dict[str, Any]) -> Run:
    """A fresh name for each set of values and each origin: a run of an earlier one would go on by itself."""
    trial, pointer = tune.get_context().get_trial_id(), pointed()
    if pointer is None:
        return Run(sweep.store, f"{sweep.name}-{trial}")
    if pointer["trial"] == trial and pointer["drawn"] == config["drawn"]:
        return Run(sweep.store, pointer["run"])
    identity = json.dumps([pointer, config["drawn"]], sort_keys=True)
    run = Run(sweep.store, f"{sweep.name}-{trial}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}")
    source = Run(sweep.store, pointer["run"])
    if not run.saved():
        branch(source, pointer["directory"], run, recipe.compute.checkpoints_kept)
    if run.read(SCHEDULE) is None:
        begun = [run.saved()[-1].step, config["drawn"]]
        run.write(SCHEDULE, {"schedule": [*schedule(source, pointer["drawn"]), begun]})
    return run


def schedule(run: Run, found: Drawn) -> list[list[Any]]:
    """[step, values from there on] of a trial that has come to values `found` by this run."""
    return (run.read(SCHEDULE) or {"schedule": [[0, found]]})["schedule"]


ORIGINS = {"asha": by_recipe, "pbt": by_pointer}


def branch(source: Run, directory: str, run: Run, kept: int) -> None:
    """Makes a checkpoint of `source` the first one of `run`: the named one, or where it has been deleted or damaged
    since, the newest that verifies. The snapshot, written last, makes it count."""
    pointed = [saved for saved in source.saved() if saved.directory == directory]
    with sound(source, [*pointed, *source.saved()]) as (saved, local):
        checkpoint.restate(local, run=run.name)
        _put(run, saved, local, kept)


def _put(run: Run, saved: Saved, local: Path, kept: int) -> None:
    for file in local.iterdir():
        run.store.put(f"{run.prefix}/{saved.directory}/{file.name}", file.read_bytes())
    register(run, saved.directory, saved.metrics, kept)


def pointed() -> dict[str, Any] | None:
    """The pointer that Tune has given this trial."""
    found = tune.get_checkpoint()
    if found is None:
        return None
    with found.as_directory() as directory:
        return json.loads((Path(directory) / POINTER).read_text())


def report(run: Run, directory: str, config: dict[str, Any], figures: dict[str, Any]) -> None:
    """Tells Tune of a checkpoint that the store has: Tune keeps where it is, and whose."""
    content = {"run": run.name, "directory": directory, "drawn": config["drawn"]}
    content["trial"] = tune.get_context().get_trial_id()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / POINTER).write_text(json.dumps(content))
        tune.report(figures, checkpoint=tune.Checkpoint.from_directory(folder))  # pyright: ignore[reportArgumentType]
