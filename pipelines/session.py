"""What a verb runs in: a Ray cluster for its length, and the MLflow run that records it."""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.cluster import connect, local_ray, variables
from infra.registry import Registry
from infra.tracking import DatasetVersion, NullTracker, Tracker
from pipelines.addresses import from_environment, optional_address
from pipelines.card import README
from pipelines.code import git_commit
from pipelines.recipe import ComputeSettings, Recipe, in_job
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run
from xmodal.metrics.figure import Figure
from xmodal.settings import flatten

RAY_HOME = Path(".xmodal/ray")


@contextmanager
def cluster(compute: ComputeSettings, cpus: int | None = None) -> Iterator[None]:
    """The recipe's cluster: the one at `ray_address`, else a local one that stops at the end, with logical CPUs for its
    workers, or for what holds `cpus`.

    The addresses of storage that a recipe names go into the environment, which is how Ray's workers resolve them.
    """
    endpoint = optional_address("compute.endpoint", compute.endpoint)
    addresses = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": compute.region}
    os.environ.update({name: value for name, value in addresses.items() if value})
    least, most = compute.world_sizes[0], compute.world_sizes[-1]
    gpus = least if compute.gpu else 0
    address = joins(compute)
    joined = (
        connect(address, least, cpus_per_worker=compute.cpus_per_worker, gpus=gpus, grows=compute.autoscaled)
        if address
        else local_ray(cpus or math.ceil(most * compute.cpus_per_worker), RAY_HOME, gpus=gpus)
    )
    with variables(timeouts(compute)), joined:
        yield


def joins(compute: ComputeSettings) -> str | None:
    """The address of the cluster that `cluster` joins: the recipe's, else in a cluster job that job's; None = a local
    one is started."""
    return optional_address("compute.ray_address", compute.ray_address) or ("auto" if in_job() else None)


def timeouts(compute: ComputeSettings) -> dict[str, str]:
    """What Ray Train reads from the environment of the process that starts a group."""
    return {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(compute.start_timeout),
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(compute.health_timeout),
        "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": str(compute.collective_timeout),  # of Ray's own, in every report
    }


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


def log_evaluation(
    recipe: Recipe,
    mlflow_run: str | None,
    step: int,
    figures: Sequence[Figure],
    report: Path,
    card: Mapping[str, bytes],
) -> None:
    """Adds the figures, the report and the files of the card to the MLflow run that trained the model; without one
    nothing is logged."""
    uri = tracking_uri(recipe)
    if uri is None or not mlflow_run:
        return
    tracker = Tracker.start(uri, recipe.tracking.experiment, "", params={}, tags={}, run_id=mlflow_run)
    tracker.log(step, _finite({figure.name: figure.value for figure in figures}))
    tracker.artifact(report, "report")
    describe(recipe, uri, mlflow_run, figures, card)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in card.items():
            (Path(folder) / name).write_bytes(data)
            tracker.artifact(Path(folder) / name, "card")
    tracker.finish()


def describe(recipe: Recipe, uri: str, mlflow_run: str, figures: Sequence[Figure], card: Mapping[str, bytes]) -> None:
    """Puts the card and the figures with their intervals on the version that the run has in the registry, if any."""
    if recipe.tracking.register_as is None:
        return
    registry = Registry(uri, recipe.tracking.register_as)
    if (version := registry.of_run(mlflow_run)) is not None:
        registry.describe(version, card[README].decode(), dict(_tags(figures)))


def _tags(figures: Sequence[Figure]) -> Iterator[tuple[str, str]]:
    """Figure by figure its value, and the interval where it has one. The names are of letters that MLflow takes."""
    for one in figures:
        if math.isfinite(one.value):
            between = "" if one.low is None else f" ({one.low:.4g} to {one.high:.4g})"
            yield one.name, f"{one.value:.4g}{between}{one.unit and f' {one.unit}'}"


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
