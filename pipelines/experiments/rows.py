"""Stored rows: one a run and split, by the run's identity."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from infra.storage import NotFound, Store
from pipelines.code import git_commit
from pipelines.dataset import Dataset
from pipelines.evaluate.subject import Subject
from pipelines.experiments.fit import fit
from pipelines.experiments.table import Arm, Outcome, Table
from pipelines.progress import Progress
from pipelines.recipe import Recipe
from pipelines.train.plan import sample_reader
from xmodal.inference import Inference
from xmodal.model import CrossModalModel


@dataclass(frozen=True)
class Row:
    """What one run gave on one split."""

    outcome: Outcome
    seconds: float
    machine: str
    commit: str
    """Of the code that ran."""

    @property
    def figure(self) -> float:
        return sum(self.outcome.values) / len(self.outcome.values)


@dataclass(frozen=True)
class Rows:
    """The rows of a table below `store`."""

    store: Store
    table: Table
    dataset: Dataset
    device: str

    def key(self, arm: Arm, trial: int, seed: int, split: str) -> str:
        recipe = self.table.run(arm, trial, seed)
        return f"experiments/{self.table.name}/{split}/{recipe.fingerprint(self.dataset.digest)}.json"

    def found(self, arm: Arm, trial: int, seed: int, split: str) -> Row | None:
        try:
            document: dict[str, Any] = json.loads(self.store.read(self.key(arm, trial, seed, split)))
        except NotFound:
            return None
        return Row(Outcome(**document["outcome"]), document["seconds"], document["machine"], document["commit"])

    def make(self, arm: Arm, trial: int, seed: int, split: str, progress: type[Progress] = Progress) -> Row:
        """Trains, measures on `split` and stores. Raises NonFinite, SettingsError, DataRefused."""
        recipe = self.table.run(arm, trial, seed)
        begun = time.monotonic()
        images = recipe.train.epochs * self.dataset.counts["train"]
        with progress(f"{arm.name} {split} trial {trial} seed {seed}", total=images, unit="samples") as shown:
            model = fit(recipe, self.dataset, self.device, shown.update)
        outcome = self.table.measure(self._subject(recipe, model, split))
        row = Row(outcome, time.monotonic() - begun, _machine(self.device), git_commit())
        own = {"arm": arm.name, "settings": arm.settings, "trial": trial, "seed": seed}
        self.store.put(self.key(arm, trial, seed, split), json.dumps(own | asdict(row)).encode())
        return row

    def _subject(self, recipe: Recipe, model: CrossModalModel, split: str) -> Subject:
        own, device = recipe.model_dump(mode="json"), torch.device(self.device)
        answering = Inference(model, own, self.dataset.wordpiece(), {}, recipe.data.pixels, device, beams=1)
        return Subject.of(answering, self.dataset, sample_reader(recipe, self.dataset), split)

    def chosen(self, arm: Arm) -> int | None:
        """The trial with the best validation figure; None while one is missing."""
        tried = [self.found(arm, trial, 0, "val") for trial in range(len(self.table.trials))]
        scores = [row.figure for row in tried if row is not None]
        return scores.index(max(scores)) if len(scores) == len(tried) else None

    def measured(self, arm: Arm) -> list[Row]:
        """The test rows that are there, by seed."""
        trial = self.chosen(arm)
        found = [] if trial is None else [self.found(arm, trial, seed, "test") for seed in range(self.table.seeds)]
        return [row for row in found if row is not None]


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} x {platform.processor() or platform.machine()}"
