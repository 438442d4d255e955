"""`xmodal train`: starts or resumes the run of a recipe, shows its progress, records it."""

import signal
from typing import Any

import ray
from pyarrow.fs import PyFileSystem
from ray.train import (
    CheckpointConfig,
    ControllerError,
    DataConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    WorkerGroupError,
)
from ray.train.torch import TorchConfig, TorchTrainer

from infra.storage import Store
from infra.storage.files import StoreFiles
from pipelines.advice import unfilled
from pipelines.dataset import Dataset
from pipelines.errors import Failed
from pipelines.progress import warn
from pipelines.recipe import Recipe, load_recipe
from pipelines.served import record_model
from pipelines.session import cluster
from pipelines.tracked import tracked
from pipelines.train.blocks import lane_dataset
from pipelines.train.board import shown_progress
from pipelines.train.failures import explained
from pipelines.train.loop import Job, work
from pipelines.train.out_of_memory import memory_told
from pipelines.train.plan import TrainingPlan, build_model, warm_start
from pipelines.train.runs import Run, resumable, sound, sweep
from pipelines.train.start import StartStep


def train(arguments: tuple[str, ...], again: bool = False) -> str:
    """Trains the recipe to its end and returns what to tell the user.

    A complete run of the same identity is not repeated unless `again`; an interrupted one continues.
    Raises SettingsError, DataRefused, NotFound, Failed.
    """
    return _told(*trained(load_recipe(arguments), again))


def trained(recipe: Recipe, again: bool = False) -> tuple[Run, dict[str, Any]]:
    """The complete run of the recipe, and its result document."""
    store = recipe.compute.store()
    dataset = Dataset.open(store, recipe.data.name, recipe.data.version)
    plan = TrainingPlan.of(recipe, dataset)
    run = choose_run(store, recipe, plan.digest, again)
    result = run.read("result.json")
    if result is None:
        if line := unfilled(recipe, len(plan.order.rows)):
            warn(line)
        if not run.saved():  # what a fresh run cannot begin with is said before Ray starts; a resumed one needs neither
            with memory_told():
                warm_start(build_model(recipe, dataset), recipe, store)
        with cluster(recipe.compute):
            result = fit(recipe, plan, run)
    return run, result


def choose_run(store: Store, recipe: Recipe, digest: str, again: bool) -> Run:
    """The run of this recipe on this dataset version: name, fingerprint, attempt. `again` leaves complete ones alone.

    Ray resumes a finished name into doing nothing, so a new attempt needs a new name.
    """
    attempt = 0
    while True:
        run = Run(store, f"{recipe.name}-{recipe.fingerprint(digest)}-{attempt}")
        if not again or run.read("result.json") is None:
            return run
        attempt += 1


def fit(recipe: Recipe, plan: TrainingPlan, run: Run) -> dict[str, Any]:
    """Runs the workers until the plan is done; returns the run's result document."""
    saved = resumable(run)  # says now where no checkpoint of the run is good any more
    sweep(run)
    with tracked(recipe, run, plan) as tracking, shown_progress(plan.total_samples) as progress:
        job = Job(recipe.model_dump(mode="json"), plan, run, tracking.worker(), progress)
        if saved is None or saved.step < plan.total_steps:
            _finish(trainer(recipe, plan, run, job))
        if (reason := ray.get(progress.stopped.remote())) is not None:
            raise Failed(reason)
        sweep(run)
        with sound(run, run.best()) as (best, directory):
            record_model(tracking, recipe, directory)
        result = {"run": run.name, "checkpoint": best.directory, "step": best.step, "metrics": best.metrics}
        run.write("result.json", result)
    return result


def _finish(group: TorchTrainer) -> None:
    """Trains to the end. What the user can do something about is raised in its own words, a bug as Ray's error.

    Ray takes SIGINT over, for good, and ends an interrupted run with SystemExit: both are put right here.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        group.fit()
    except SystemExit:
        raise KeyboardInterrupt from None
    except (WorkerGroupError, ControllerError) as error:
        raise explained(error) from None
    finally:
        signal.signal(signal.SIGINT, handler)


def trainer(recipe: Recipe, plan: TrainingPlan, run: Run, job: Job) -> TorchTrainer:
    """The group of workers that trains `run`, not started yet."""
    compute = recipe.compute
    readers = compute.data_workers
    scaling = ScalingConfig(
        num_workers=compute.workers,
        elastic_resize_monitor_interval_s=compute.resize_interval,
        use_gpu=compute.gpu,
        resources_per_worker={"CPU": compute.cpus_per_worker} | ({"GPU": 1} if compute.gpu else {}),
    )
    keep = CheckpointConfig(compute.checkpoints_kept, checkpoint_score_attribute="score")
    options = ray.data.ExecutionOptions(preserve_order=True)
    return TorchTrainer(
        work,
        train_loop_config={"job": job},
        scaling_config=scaling,
        torch_config=TorchConfig(
            backend="nccl" if compute.gpu else "gloo",
            timeout_s=compute.collective_timeout,  # pyright: ignore[reportArgumentType]  # fractions are taken
        ),
        run_config=RunConfig(
            name=run.name,
            storage_path="runs",
            storage_filesystem=PyFileSystem(StoreFiles(run.store, compute.store_patience)),
            failure_config=FailureConfig(
                max_failures=compute.max_failures, controller_failure_limit=compute.max_failures
            ),
            checkpoint_config=keep,
        ),
        datasets={"train": lane_dataset(plan.lanes(), plan.epochs, StartStep(run, job.progress), readers)},
        dataset_config=DataConfig(execution_options=options),
    )


def _told(run: Run, result: dict[str, Any]) -> str:
    figures = "  ".join(f"{name} {value:.1f}" for name, value in result["metrics"].items() if name.startswith("val/"))
    best = f"best checkpoint {result['checkpoint']} (step {result['step']})"
    return "\n".join([f"run {run.name}", best, figures, f"next: xmodal evaluate {run.name}"])
