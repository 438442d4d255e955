"""`xmodal tune SPACE RECIPE...`: searches settings, shows how it goes, keeps the best recipe. Run again, it goes on."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray

from infra.groups import free_forsaken
from infra.lock import held
from pipelines.advice import simpson
from pipelines.dataset import Dataset
from pipelines.errors import Failed
from pipelines.progress import warn
from pipelines.recipe import Recipe, load_recipe
from pipelines.report import render
from pipelines.session import cluster, joins
from pipelines.taxa import species_keys
from pipelines.train.plan import TrainingPlan, build_model, warm_start
from pipelines.tune import patience, room
from pipelines.tune.best import best_recipe
from pipelines.tune.claims import claims
from pipelines.tune.content import content
from pipelines.tune.outcome import Outcome, ranked, value
from pipelines.tune.record import close, tracked
from pipelines.tune.space import Space, load_space
from pipelines.tune.sweep import Sweep, named
from pipelines.tune.table import Progress
from pipelines.tune.tuner import tuner
from pipelines.tune.watch import Watch

LEASE_SECONDS = 20.0
"""Of a sweep's lock: after a driver was killed, the next one waits a little longer than this."""


@dataclass(frozen=True)
class Wishes:
    """What a sweep is asked for beside space and recipe: none of it changes which sweep it is."""

    best: Path | None = None
    """Where the best recipe goes; without it a file named after the sweep."""
    report: Path | None = None
    """Where the page goes; likewise."""
    at_once: int | None = None
    """Trials at once; without it as many as the cluster holds."""
    hours: float | None = None
    """Device-hours after which the sweep ends for this time."""


def tune(space_name: str, arguments: tuple[str, ...], wishes: Wishes) -> str:
    """Runs or restores the sweep and returns what to tell the user.

    Raises SettingsError, DataRefused, NotFound, ClusterTooSmall, infra.lock.Locked, Failed.
    """
    label, space = load_space(space_name)
    recipe = load_recipe(arguments)
    store = recipe.compute.store()
    dataset = Dataset.open(store, recipe.data.name, recipe.data.version)
    sweep = named(label, space, recipe, dataset)
    known = sweep.read()
    if "outcomes" in known:
        return _told(sweep, recipe, [Outcome(**one) for one in known["outcomes"]], wishes, known)
    plan = TrainingPlan.of(recipe, dataset)
    grace = _checked(space, recipe, dataset, plan)
    with held(store, f"locks/{sweep.prefix}", LEASE_SECONDS), tracked(sweep, recipe) as tracker:
        sweep = replace(sweep, parent=tracker.run_id)
        sweep.write(grace=grace)
        outcomes = _searched(sweep, recipe, wishes, grace, plan.total_steps)
        close(sweep, recipe, outcomes)
        known = sweep.read()
        text = _told(sweep, recipe, outcomes, wishes, known)
        for file in _files(sweep, wishes):
            tracker.artifact(file)
        tracker.log(0, {"sweep/best": ranked(outcomes)[0].best, "sweep/device_hours": known["device_seconds"] / 3600})
    return text


def _checked(space: Space, recipe: Recipe, dataset: Dataset, plan: TrainingPlan) -> int:
    """Steps before the first rung; says what the advisor warns of. What no trial could begin with ends it here."""
    rows, steps = len(plan.order.rows), plan.total_steps
    species = species_keys(dataset.records(["facts"], split="train")["facts"].to_pylist())
    share = simpson(species, recipe.train.class_power) if any(species) else None
    for line in patience.advised(space, recipe, steps, rows, share):
        warn(line)
    grace = patience.grace(space, recipe, steps)
    if grace >= steps:
        warn(f"no trial is stopped early: the slowest key encoder needs all of the {steps} steps of a trial to arrive")
    warm_start(build_model(recipe, dataset), recipe, dataset.store)
    return grace


def _searched(sweep: Sweep, recipe: Recipe, wishes: Wishes, grace: int, steps: int) -> list[Outcome]:
    """What became of the trials. Raises KeyboardInterrupt where the user ended it."""
    compute = recipe.compute
    here, cpus = room.here(compute, wishes.at_once)
    with cluster(compute, cpus):
        free_forsaken()
        at_once = room.at_once(compute, wishes.at_once if joins(compute) else here, ray.cluster_resources())
        holders = claims(at_once)
        with Progress(sweep.name, sweep.space.search.trials) as progress:
            watch = Watch(sweep, holders, progress, at_once, room.devices(compute), wishes.hours)
            results = tuner(sweep, compute, holders, watch, at_once, grace, steps).fit()
            outcomes = [watch.outcome(one) for one in results._experiment_analysis.trials]
            watch.end(outcomes)
    left = sweep.space.search.trials - sum(one.over for one in outcomes)
    crashed = [one for one in outcomes if one.state == "crashed"]
    if left and watch.exhausted:
        warn(f"{wishes.hours:g} device-hours are spent and {left} trials not over; more --hours go on with them")
    elif left:
        raise KeyboardInterrupt
    elif crashed:
        warn(f"{len(crashed)} trials crashed ({crashed[0].why}); the same command tries them again")
    else:
        sweep.write(outcomes=[asdict(one) for one in outcomes])
    return outcomes


def _told(sweep: Sweep, recipe: Recipe, outcomes: list[Outcome], wishes: Wishes, known: dict[str, Any]) -> str:
    """Writes the best recipe and the page; what to print. Raises Failed where no trial has a score."""
    spent = known["device_seconds"]
    first = ranked(outcomes)[0] if outcomes else None
    if first is None or not first.curve:
        reason = next((one.why for one in outcomes if one.why), "none came to its first validation")
        raise Failed(f"sweep {sweep.name}: no trial has a score: {reason}")
    best, report = _files(sweep, wishes)
    page = render(content(sweep, recipe, outcomes, spent, known["grace"]))
    for file, name, text in ((best, "best.yaml", best_recipe(sweep, recipe, first)), (report, "sweep.html", page)):
        file.write_text(text, encoding="utf-8")
        sweep.store.put(f"{sweep.prefix}/{name}", text.encode())
    counts = Counter(one.state for one in outcomes)
    return "\n".join(
        [
            f"sweep {sweep.name}: {', '.join(f'{count} {state}' for state, count in sorted(counts.items()))}",
            f"best {first.best:.2f}  trial {first.trial}  run {first.run}",
            *(f"  {path} {value(found)}" for path, found in first.values.items()),
            f"recipe {best}  report {report}  {spent / 3600:.2f} device-hours",
            f"next: xmodal train {best}",
        ]
    )


def _files(sweep: Sweep, wishes: Wishes) -> tuple[Path, Path]:
    """Where recipe and page go."""
    return wishes.best or Path(f"{sweep.name}.yaml"), wishes.report or Path(f"{sweep.name}.html")
