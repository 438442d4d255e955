"""The training loop of one worker (Ray Train calls `work` in every process of the group)."""

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Thread
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointUploadMode
from torch import Tensor

from infra.curves import Curves, NoCurves
from infra.gauges import Gauges
from pipelines.errors import Failed, NonFinite
from pipelines.recipe import Recipe
from pipelines.train.abreast import Abreast, check_drawn_alike
from pipelines.train.descent import Descent, check_finite
from pipelines.train.feed import on_device
from pipelines.train.gradients import GradientWatch
from pipelines.train.lanes import batches
from pipelines.train.out_of_memory import OutOfMemory, memory_told
from pipelines.train.plan import TrainingPlan, build_model, warm_start
from pipelines.train.queue_health import queue_health
from pipelines.train.readings import Reading
from pipelines.train.runs import CHECKPOINT, Run, newest
from pipelines.train.saves import Saves
from pipelines.train.validate import Validation
from xmodal import checkpoint, distributed
from xmodal.batch import Batch
from xmodal.matchers import Matcher
from xmodal.recompute import recompute
from xmodal.settings import dump_yaml, parse

HISTORY_POINTS = 1000
"""Points of each training curve that a checkpoint carries for the report."""


@dataclass(frozen=True)
class Job:
    """What the driver hands to every worker; it pickles and holds no secret."""

    recipe: dict[str, Any]
    plan: TrainingPlan
    run: Run
    curves: Curves | NoCurves
    progress: Any
    """The run's ProgressBoard."""


@dataclass(frozen=True)
class Step:
    """What is to be told of an optimizer step."""

    number: int
    """0-based."""
    wait: float
    """Seconds that its batch took to come."""
    seconds: float
    """That it took, from the end of the step before: this wait, and what came between them."""
    values: Reading
    """Global means of the losses and of what tasks tell beside them, and the gradient's norm."""
    state: Reading
    """`CrossModalModel.state` after it."""


class Worker:
    """One process of the group: model, optimizer, position. Every draw is keyed by sample, so ranks only share work."""

    def __init__(self, job: Job):
        self.job, self.recipe = job, parse(Recipe, job.recipe)
        self.rank, self.size = distributed.rank(), distributed.world_size()
        self.device = ray.train.torch.get_device()
        dataset = job.plan.open()
        self.wordpiece, self.attributes = dataset.wordpiece(), json.dumps({"attributes": dataset.attributes()})
        torch.manual_seed(self.recipe.train.seed)
        self.model = build_model(self.recipe, dataset).to(self.device)
        if self.recipe.compute.gradient_checkpointing:
            recompute(self.model)
        check_drawn_alike(self.model)
        self.descent = Descent(self.model, self.recipe.train, job.plan.total_samples)
        by_host, rows = isinstance(self.model.host, Matcher), self.recipe.train.validation_rows
        self.validation = Validation(dataset, job.plan.reader, rows, by_host)
        self.step, self.history = 0, []
        self.saves = Saves(job.run, self.recipe.compute.store_patience, job.progress)
        self.taken = {saved.directory for saved in job.run.saved()}
        self._restore()
        options = {"forward_sync_buffers": False}
        self.parallel = ray.train.torch.prepare_model(self.model, parallel_strategy_kwargs=options)
        self.gradients, self.gauges, self.untold = GradientWatch(), Gauges(), None
        self.abreast = Abreast(self.model, self.job.progress.tell.remote)
        self.abreast.compare()
        self.waited, self.begun, self.ended = 0.0, time.monotonic(), time.monotonic()

    def _restore(self) -> None:
        with newest(self.job.run) as found:
            if found is None:
                self._start()
                return
            _, directory = found
            state = checkpoint.restore(directory, model=self.model, optimizer=self.descent.optimizer)
            checkpoint.restore_rng(directory, self.rank, self.size)
        self.step, self.history = state["step"], state["history"]

    def _start(self) -> None:
        """What a fresh run begins with: statistics of the data, then the weights of `init_from`."""
        self.job.plan.initialise(self.model)
        warm_start(self.model, self.recipe, self.job.run.store)

    def batches(self) -> Iterator[Batch]:
        """This worker's batches; the first must come within the recipe's timeout."""
        shard = ray.train.get_dataset_shard("train")
        options: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "prefetch_batches": 2}
        blocks = iter(shard.iter_batches(**options))  # pyright: ignore[reportOptionalMemberAccess]
        plan = self.job.plan
        stream = batches(blocks, plan.order, plan.reader, self.rank, self.size)
        first = self._first(stream)
        if first is not None:
            yield first
            yield from stream

    def _first(self, stream: Iterator[Batch]) -> Batch | None:
        """The first batch; None where the plan was done already. Raises Failed, on every worker alike, where it does
        not come to one of them: that wait cannot be ended, so its thread is left to end with the process."""
        first: Future[Batch | None] = Future()
        Thread(target=_settle, args=(first, stream), daemon=True).start()
        timeout = self.recipe.compute.first_batch_timeout
        late = torch.tensor(float(first in wait([first], timeout).not_done), device=self.device)
        if distributed.sum_across(late) > 0:
            raise Failed(_no_batch(timeout))
        return first.result()

    def train(self, batch: Batch, wait: float) -> None:
        """One optimizer step on this worker's share of global batch `batch.step`, which took `wait` seconds to come;
        then the step before is told."""
        shares = self.descent.gradients(self.parallel, batch)
        means = distributed.sum_across(torch.stack(list(shares.values()))) / self.size
        norm = self.descent.step(batch.step)
        self.step = batch.step + 1
        numbers = dict(zip(shares, means, strict=True)) | {"grad_norm": norm}
        readings = Reading(numbers), Reading(self.model.state(self.step))
        self.tell()
        now = time.monotonic()
        seconds, self.ended = now - self.ended, now
        self.untold = Step(batch.step, wait, seconds, *readings)

    def tell(self) -> None:
        """Reads what the last step came to, where that is not done yet. Raises NonFinite on every worker alike, before
        a checkpoint holds what it is about, and Failed where the gradient has exploded."""
        if self.untold is not None:
            done, self.untold = self.untold, None
            values = done.values.read()
            check_finite(values, done.number)
            self._log(done, values, self.gradients.look(values["grad_norm"], done.number))

    def _log(self, done: "Step", values: dict[str, float], facts: dict[str, str]) -> None:
        """Rank 0 tells the tracker and the driver's display; a curve point is kept for the report."""
        position, seconds = done.number + 1, done.seconds
        self.waited += done.wait
        self.abreast.step(done.wait, seconds)
        batch = self.recipe.train.global_batch
        loss = sum((weight * values[name] for name, weight in self.model.weights.items()), 0.0)
        told = {"loss": loss, **values, "learning_rate": self.descent.rate(done.number)}
        metrics = {f"train/{name}": value for name, value in told.items()}
        metrics |= self.model.state_metrics(position, done.state.read())
        metrics |= {
            "time/step": seconds,
            "time/data_wait": done.wait / max(seconds, 1e-9),
            "time/samples_per_second": batch / seconds,
        }
        if self.rank == 0:
            self.job.curves.log(position, metrics)
            self.gauges.show(metrics)
            self.gauges.step(batch, {"total": loss} | {name: values[name] for name in self.model.weights})
            share = self.waited / max(self.ended - self.begun, 1e-9)
            facts = {"loss": f"{loss:.3f}", "data wait": f"{share:.0%}"} | facts
            self.job.progress.update.remote(position * batch, facts)
        every = max(1, self.job.plan.total_steps // HISTORY_POINTS)
        if position % every == 0:
            self.history.append({"step": position, **metrics})

    def compare(self) -> None:
        """The workers with one another: what they must hold alike, and whether they keep abreast."""
        self.tell()
        distributed.check_alike(self.model.replicated())
        if found := self.abreast.compare():
            self.history.append({"step": self.step, **found})
            if self.rank == 0:
                self.job.curves.log(self.step, found)

    def checkpoint(self, batch: Batch) -> None:
        """Validates, saves and reports after the step of `batch`; every worker takes part, rank 0 writes, and sends
        while training goes on. What the workers must hold alike is compared first: one of them speaks for all."""
        self.compare()
        metrics = self.validation.measure(self.model, self.device) | queue_health(self.model, batch)
        self.history.append({"step": self.step, **metrics})
        generators, queue = distributed.gather_objects(checkpoint.rng_state()), self.model.queue.state()
        report = {"step": self.step, "score": metrics["val/score"], **metrics}
        saved = None
        if self.rank == 0:
            self.job.curves.log(self.step, metrics)
            self.gauges.show(metrics)
            saved = self.saves.write(partial(self._save, generators, queue))
        ray.train.report(
            report,
            checkpoint=saved,
            checkpoint_dir_name=self._directory(),
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=self.saves.send,
        )

    def _save(self, generators: list[dict[str, Any]], queue: dict[str, Tensor], directory: Path) -> None:
        checkpoint.save(
            directory,
            model=self.model,
            queue=queue,
            optimizer=self.descent.optimizer,
            state=self._state(),
            recipe_yaml=dump_yaml(self.recipe),
            wordpiece=self.wordpiece,
            attributes_json=self.attributes,
            rng=generators,
        )

    def _directory(self) -> str:
        """A name that no earlier checkpoint of the run has: one that was passed over as damaged keeps its own, and Ray
        deletes by name."""
        name = f"{CHECKPOINT}{self.step:010d}"
        again = (f"{name}-{number}" for number in itertools.count(1))
        return next(one for one in itertools.chain([name], again) if one not in self.taken)

    def _state(self) -> dict[str, Any]:
        """What a checkpoint says of itself beside the tensors."""
        own = {"step": self.step, "history": self.history, "world_size": self.size, "run": self.job.run.name}
        return own | {"mlflow_run_id": self.job.curves.run_id} | self._provenance

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        """The same in every checkpoint of a run, and read from all record parts: so read once."""
        return self.job.plan.provenance()


def _settle(first: Future[Batch | None], stream: Iterator[Batch]) -> None:
    """Asks for the first batch; whatever comes of it is for the one who waits."""
    try:
        first.set_result(next(stream, None))
    except BaseException as error:
        first.set_exception(error)


def _no_batch(seconds: float) -> str:
    cluster, free = ray.cluster_resources().get("CPU", 0), ray.available_resources().get("CPU", 0)
    return (
        f"no first batch within {seconds:.0f} s: the cluster has {cluster:.0f} logical CPUs, {free:.0f} are free, "
        "and reading needs one beside the training workers; give Ray more CPUs or lower compute.workers"
    )


def work(config: dict[str, Job]) -> None:
    """What Ray Train runs in each worker. One whose memory does not suffice tells the driver itself: the others, in
    the middle of a step, know nothing of it. Raises OutOfMemory."""
    job = config["job"]
    try:
        with memory_told():
            train_on(job)
    except OutOfMemory as error:
        ray.get(job.progress.stop.remote(f"run {job.run.name} stopped: {error}"))
        raise


def train_on(job: Job) -> None:
    """Steps until the plan is done.

    A non-finite loss and a first batch that does not come end the run for good: a restart would only repeat them.
    """
    torch.set_num_threads(max(1, int(job.recipe["compute"]["cpus_per_worker"])))
    worker = Worker(job)
    every = worker.recipe.train.checkpoint_every or job.plan.order.batches
    job.curves.attach(worker.rank)
    try:
        asked = time.monotonic()
        for batch in on_device(worker.batches(), worker.device):
            worker.train(batch, time.monotonic() - asked)
            if worker.step % every == 0 or worker.step == job.plan.total_steps:
                worker.checkpoint(batch)
            elif worker.step % worker.recipe.train.check_alike_every == 0:  # a checkpoint compares by itself
                worker.compare()
            asked = time.monotonic()
        if worker.step != job.plan.total_steps:
            raise RuntimeError(f"the data ended at step {worker.step} of {job.plan.total_steps}")
    except (NonFinite, Failed) as error:
        if worker.rank == 0:
            ray.get(job.progress.stop.remote(f"run {job.run.name} stopped at step {worker.step}: {error}"))
    finally:
        job.curves.detach()
