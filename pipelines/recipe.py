"""Recipe: data, model and train are its identity; evaluation, retrain, compute and tracking are not.

The same tree is what a recipe file says, what `path=value` overrides change, what a checkpoint holds, what MLflow logs
and what Ray receives as a plain dict.
"""

import difflib
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from infra.storage import Store, open_store
from pipelines.addresses import from_environment, optional_address
from pipelines.evaluate.settings import EvaluationSettings
from pipelines.prepare.settings import DataSettings
from pipelines.retrain.settings import RetrainSettings
from pipelines.train.settings import TrainSettings
from xmodal.model import ModelSettings
from xmodal.settings import Settings, SettingsError, fingerprint, load


def in_job() -> bool:
    """Whether this process is the command of a job that a Ray cluster runs."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


class ComputeSettings(Settings):
    """Where and with what the verbs run; no part of a run's identity."""

    root: str | None = None
    """Directory or `s3://bucket/prefix` that holds datasets, runs, locks and promotions; without it the environment's
    XMODAL_ROOT, else `.xmodal/root`."""
    endpoint: str | None = None
    """S3 endpoint URL of `root`; without it AWS_ENDPOINT_URL, else AWS. Credentials come from the environment alone."""
    region: str | None = None
    """S3 region of `root`."""
    ray_address: str | None = None
    """Ray cluster to join (`host:port` or `auto`); without it the one whose job this is, and outside of jobs a local
    one that is started for the verb and stopped after it."""
    autoscaled: bool = False
    """Whether nodes come to the cluster at ray_address when they are asked for, from none at all. Then its size is not
    checked before the run, and start_timeout decides whether it has become large enough."""
    workers: int | tuple[int, int] = 2
    """Training processes (S), or the least and the most of them, such as [1, 4]: as many as the cluster has room for at
    each start of the group. Every number from least to most must divide train.lanes."""
    resize_interval: float = Field(default=60, gt=0)
    """Seconds between looks whether the cluster has room for other than the present number of workers. Taking them
    restarts the group from its last checkpoint."""
    cpus_per_worker: float = Field(default=1, gt=0)
    """Logical CPUs that each training worker holds."""
    gpu: bool = False
    """Whether each training worker holds one GPU (NCCL) instead of CPUs alone (gloo)."""
    gradient_checkpointing: bool = False
    """Whether blocks' activations are computed again in the backward instead of being kept: less memory for a third
    more compute, the same numbers."""
    data_workers: int = Field(default=1, ge=1)
    """Reading and decoding processes beside the training workers, at most."""
    first_batch_timeout: float = Field(default=180, gt=0)
    """Seconds a worker waits for its first batch before the run stops and says what is missing."""
    start_timeout: float = Field(default=120, gt=0)
    """Seconds in which all training workers must have started. Fixed cluster: some 1.5 times the slowest cold start, 60
    to 120. Autoscaled: the time a node takes to come, 600 to 900. After a node is lost, a run with a range of workers
    waits it out before it goes on with fewer."""
    health_timeout: float = Field(default=600, gt=0)
    """Seconds without an answer after which a worker counts as lost; one that was killed is noticed at once. Fixed
    cluster: 120. Autoscaled: the default, longer than a new node's pauses while it loads images and data."""
    collective_timeout: float = Field(default=600, gt=0)
    """Seconds for which training workers wait for each other in a step; then the group counts as cut apart and starts
    again from its last checkpoint. Not less than first_batch_timeout and store_patience: so long may one keep the
    others waiting."""
    store_patience: float = Field(default=300, gt=0)
    """Seconds for which a call that the store does not answer is repeated, and for which a checkpoint also waits where
    the store refuses it or this machine's disk has no room. Then the run ends; earlier checkpoints stay."""
    max_failures: int = Field(default=3, ge=-1)
    """Worker deaths a run survives by itself; -1 = any number."""
    checkpoints_kept: int = Field(default=2, ge=2)
    """Checkpoints kept in a run, the best ones and the last; two is the least that survives a damaged one."""

    @field_validator("workers", mode="before")
    @classmethod
    def _one_number_or_a_range(cls, value: Any) -> Any:
        numbers = value if isinstance(value, list | tuple) else [value]
        whole = all(type(number) is int and number >= 1 for number in numbers)
        if len(numbers) not in (1, 2) or not whole or list(numbers) != sorted(numbers):
            raise ValueError("give a whole number from 1 on, or the least and the most such as [1, 4]")
        return value

    @model_validator(mode="after")
    def _what_grows_is_joined(self) -> "ComputeSettings":
        if self.autoscaled and not self.ray_address:
            raise ValueError("autoscaled needs the ray_address of the cluster to which nodes come")
        return self

    @model_validator(mode="after")
    def _nobody_is_given_up_who_waits(self) -> "ComputeSettings":
        for name in ("first_batch_timeout", "store_patience"):
            if self.collective_timeout < getattr(self, name):
                raise ValueError(
                    f"collective_timeout {self.collective_timeout:g} must not be shorter than {name} "
                    f"{getattr(self, name):g}: so long may one worker keep the others waiting"
                )
        return self

    @property
    def world_sizes(self) -> range:
        """Every number of workers that a run may have."""
        least, most = self.workers if isinstance(self.workers, tuple) else (self.workers, self.workers)
        return range(least, most + 1)

    def store(self) -> Store:
        """The store at `root`."""
        root = optional_address("compute.root", self.root) or from_environment("XMODAL_ROOT") or ".xmodal/root"
        if in_job() and "://" not in root and not Path(root).is_absolute():
            raise SettingsError(
                f"compute.root: {root} would go with the folder of this job; set it, or XMODAL_ROOT, to s3://bucket/prefix"
            )
        endpoint = optional_address("compute.endpoint", self.endpoint)
        return open_store(root, endpoint=endpoint, region=self.region, patience=self.store_patience)


class TrackingSettings(Settings):
    """MLflow; without a `uri` nothing is tracked."""

    uri: str | None = None
    """Address of the MLflow server, or `${env:NAME}`; without it MLFLOW_TRACKING_URI, else no tracking."""
    experiment: str = "xmodal"
    """MLflow experiment; made where it does not exist."""
    system_metrics: bool = True
    """Whether CPU, memory and network of the first worker are logged."""
    register_as: str | None = None
    """Registered-model name under which a trained model gets a version."""


class Recipe(Settings):
    """The whole tree. `name` only labels runs and reports."""

    name: str = Field(default="xmodal", pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Short label of runs, lower-case letters, digits and hyphens."""
    description: str = ""
    """What the run is for and what a reader has to know of its data; shown in MLflow and at the head of the report."""
    data: DataSettings
    """Archives, what is taken from them and how it becomes a dataset version."""
    model: ModelSettings
    """Encoders, momentum, queue and tasks."""
    train: TrainSettings = TrainSettings()
    """Seed, batches, schedule, augmentation."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Protocols of captioned sets, distractors, published results; no part of a run's identity."""
    retrain: RetrainSettings = RetrainSettings()
    """When a retraining trains, and from what; no part of a run's identity."""
    compute: ComputeSettings = ComputeSettings()
    """Where it runs."""
    tracking: TrackingSettings = TrackingSettings()
    """Where runs are recorded."""

    def fingerprint(self, dataset_digest: str | None = None) -> str:
        """Identity of a training run: what differs from the defaults in data, model and train. With the digest of the
        resolved dataset version, that digest stands for the data: two recipes that lead to the same rows are one."""
        return fingerprint({"data": dataset_digest or self.data, "model": self.model, "train": self.train})

    def restated(self) -> "Recipe":
        """The recipe as it trains: rate and coefficient of momentum at its global batch B', where `train.stated_batch`
        says that they are meant for a batch B; itself where it says nothing.

        rate' = rate B' / B (Goyal et al., 2017); m' = m^(B' / B), which follows as far in as many samples.
        """
        stated, optimizer, momentum = self.train.stated_batch, self.train.optimizer, self.model.momentum
        if stated is None:
            return self
        share = self.train.global_batch / stated
        rate = optimizer.model_copy(update={"learning_rate": optimizer.learning_rate * share})
        slower = momentum.model_copy(update={"coefficient": momentum.coefficient**share})
        train = self.train.model_copy(update={"optimizer": rate, "stated_batch": None})
        return self.model_copy(update={"train": train, "model": self.model.model_copy(update={"momentum": slower})})


def load_recipe(arguments: Iterable[str]) -> Recipe:
    """A recipe from files, names of recipes that come with xmodal, and overrides, from left to right; restated."""
    return stated_recipe(arguments).restated()


def stated_recipe(arguments: Iterable[str]) -> Recipe:
    """The same, as it is written."""
    return load(Recipe, [_located(argument) for argument in arguments])


def renewed_model(recipe: Recipe) -> str:
    """The registered model that `retrain` renews. Raises SettingsError where the recipe names none."""
    if recipe.tracking.register_as is None:
        raise SettingsError("tracking.register_as: retrain needs the name of the registered model that it renews")
    return recipe.tracking.register_as


def _located(argument: str) -> str:
    """The file behind a name like `demo`, also where a folder has that name; anything else as it is."""
    if "=" in argument or Path(argument).is_file():
        return argument
    shipped = {Path(str(entry)).stem: str(entry) for entry in (files("pipelines") / "recipes").iterdir()}
    if argument in shipped:
        return shipped[argument]
    near = difflib.get_close_matches(argument, shipped, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; recipes that come with xmodal: {', '.join(sorted(shipped))}"
    raise SettingsError(f"{argument}: no such recipe file{hint}")
