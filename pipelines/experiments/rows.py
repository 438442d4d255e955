"""Stored rows: one a run and split, by the run's identity."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

import torch

from infra.storage import NotFound, Store
from pipelines.code import git_commit
from pipelines.dataset import Dataset
from pipelines.evaluate.subject import Subject
from pipelines.experiments.fit import fit
from pipelines.experiments.measures import claims_of
from pipelines.experiments.table import Arm, Outcome, Table
from pipelines.recipe import Recipe
from pipelines.train.plan import TrainingPlan, sample_reader
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
    claims: dict[str, float]
    """The table's other figures that could be measured; of the validation split none are."""

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
        control = "-strangers" if arm.strangers else ""
        return f"experiments/{self.table.name}/{split}/{recipe.fingerprint(self.dataset.digest)}{control}.json"

    def found(self, arm: Arm, trial: int, seed: int, split: str) -> Row | None:
        try:
            document: dict[str, Any] = json.loads(self.store.read(self.key(arm, trial, seed, split)))
        except NotFound:
            return None
        told = {name: document[name] for name in ("seconds", "machine", "commit", "claims")}
        return Row(Outcome(**document["outcome"]), **told)

    def make(self, arm: Arm, trial: int, seed: int, split: str) -> Row:
        """Trains, measures on `split` and stores. Raises NonFinite, SettingsError, DataRefused."""
        recipe = self.table.run(arm, trial, seed)
        begun, plan = time.monotonic(), TrainingPlan.of(recipe, self.dataset)
        model = fit(recipe, plan, self.device, arm.strangers)
        subject = self._subject(recipe, model, split, plan.total_steps)
        outcome = self.table.measure(subject)
        claims = claims_of(subject, self.table.claims) if split == "test" else {}
        row = Row(outcome, time.monotonic() - begun, _machine(self.device), git_commit(), claims)
        own = {"arm": arm.name, "settings": arm.settings, "trial": trial, "seed": seed}
        self.store.put(self.key(arm, trial, seed, split), json.dumps(own | asdict(row)).encode())
        return row

    def _subject(self, recipe: Recipe, model: CrossModalModel, split: str, step: int) -> Subject:
        own, device = recipe.model_dump(mode="json"), torch.device(self.device)
        state = {"step": step}
        answering = Inference(model, own, self.dataset.wordpiece(), state, recipe.data.pixels, device, beams=1)
        return Subject.of(answering, self.dataset, sample_reader(recipe, self.dataset), split)

    def tried(self, arm: Arm) -> list[Row | None]:
        """The validation row of each trial, None where it is missing."""
        return [self.found(arm, trial, 0, "val") for trial in range(len(self.table.trials))]

    def chosen(self, arm: Arm) -> int | None:
        """The trial with the best validation figure; None while one is missing."""
        tried = self.tried(arm)
        scores = [row.figure for row in tried if row is not None]
        return scores.index(max(scores)) if len(scores) == len(tried) else None

    def measured(self, arm: Arm) -> list[Row]:
        """The test rows of the first seeds, up to one that is missing."""
        return [row for row in takewhile(bool, self._tested(arm)) if row]

    def _tested(self, arm: Arm) -> list[Row | None]:
        trial = self.chosen(arm)
        return [] if trial is None else [self.found(arm, trial, seed, "test") for seed in range(self.table.seeds)]

    def absent(self) -> int:
        """Rows that are yet to be made."""
        arms, each = self.table.arms, len(self.table.trials) + self.table.seeds
        made = [row for arm in arms for row in (*self.tried(arm), *self._tested(arm)) if row]
        return len(arms) * each - len(made)


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} x {platform.processor() or platform.machine()}"
