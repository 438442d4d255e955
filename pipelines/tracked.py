"""The MLflow run that records a training run."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra.tracking import DatasetVersion, NullTracker, Tracker
from pipelines.addresses import from_environment, optional_address
from pipelines.code import git_commit
from pipelines.recipe import Recipe
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run
from xmodal.settings import flatten


def tracking_uri(recipe: Recipe) -> str | None:
    """MLflow's address: the recipe's, else the environment's; None = nothing is tracked."""
    return optional_address("tracking.uri", recipe.tracking.uri) or from_environment("MLFLOW_TRACKING_URI")


@contextmanager
def tracked(recipe: Recipe, run: Run, plan: TrainingPlan, parent: str = "") -> Iterator[Tracker | NullTracker]:
    """The MLflow run of a training run, below the run `parent` of a sweep; an interrupted one is opened again. It ends
    FAILED where the block raises."""
    tracker = _opened(recipe, run, plan, parent)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    finally:
        tracker.finish(status)


def _opened(recipe: Recipe, run: Run, plan: TrainingPlan, parent: str) -> Tracker | NullTracker:
    uri = tracking_uri(recipe)
    if uri is None:
        return NullTracker()
    earlier = run.read("run.json") or {}
    tracker = Tracker.start(
        uri,
        recipe.tracking.experiment,
        run.name,
        params=flatten(recipe),
        tags={"fingerprint": recipe.fingerprint(plan.digest), "run": run.name},
        note=recipe.description,
        commit=git_commit(),
        dataset=DatasetVersion(plan.dataset, plan.version, plan.digest, f"{plan.store.url}/datasets/{plan.dataset}"),
        parent=parent,
        run_id=earlier.get("mlflow_run_id"),
        system_metrics=recipe.tracking.system_metrics,
    )
    run.write("run.json", earlier | {"mlflow_run_id": tracker.run_id})
    return tracker
