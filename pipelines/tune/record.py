"""A sweep in MLflow: a run of its own, which the runs of its trials stand below."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from infra.tracking import NullTracker, Tracker
from pipelines.code import git_commit
from pipelines.recipe import Recipe
from pipelines.tracked import tracking_uri
from pipelines.train.runs import Run
from pipelines.tune.outcome import Outcome
from pipelines.tune.sweep import Sweep
from xmodal.settings import flatten


@contextmanager
def tracked(sweep: Sweep, recipe: Recipe) -> Iterator[Tracker | NullTracker]:
    """The sweep's own MLflow run, opened again where it has one; it ends FAILED where the block raises."""
    uri = tracking_uri(recipe)
    tracker = NullTracker()
    if uri is not None:
        tracker = Tracker.start(
            uri,
            recipe.tracking.experiment,
            sweep.name,
            params=flatten(sweep.space),
            tags={"sweep": sweep.name},
            note=sweep.space.description,
            commit=git_commit(),
            run_id=sweep.read().get("mlflow_run_id"),
            system_metrics=False,
        )
        sweep.write(mlflow_run_id=tracker.run_id)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.finish(status)


def close(sweep: Sweep, recipe: Recipe, outcomes: Sequence[Outcome]) -> None:
    """Ends the MLflow runs of trials that were stopped at a rung: their processes were, before they could."""
    uri = tracking_uri(recipe)
    for one in outcomes:
        if uri and one.state == "stopped" and (found := Run(sweep.store, one.run).read("run.json")):
            ended = Tracker.start(
                uri, recipe.tracking.experiment, "", params={}, tags={}, run_id=found["mlflow_run_id"]
            )
            ended.set_tags({"sweep.stopped_at": str(one.step)})
            ended.finish()
