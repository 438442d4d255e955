"""What a sweep is and where it stands.

`ROOT/sweeps/NAME/` holds what Ray Tune keeps of it (a pickle: trust who writes there), and our `sweep.json`. The name
comes from the space and from what the recipe trains on what data, so the same words find the same sweep again. Trials
are ordinary runs, below `ROOT/runs`.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.storage import NotFound, Store
from pipelines.dataset import Dataset
from pipelines.recipe import Recipe
from pipelines.train.plan import TrainingPlan
from pipelines.tune.space import Drawn, Space, applied
from xmodal.settings import parse

FOLDER = "sweeps"


@dataclass(frozen=True)
class Sweep:
    """It pickles, holds no secret, and goes to every trial."""

    name: str
    store: Store
    space: Space
    recipe: dict[str, Any]
    """As plain data, with the version of the dataset that the sweep began with."""
    parent: str = ""
    """MLflow run that the trials' runs stand below."""

    @property
    def prefix(self) -> str:
        return f"{FOLDER}/{self.name}"

    def read(self) -> dict[str, Any]:
        """What is known of it from earlier: MLflow run, device-seconds spent."""
        try:
            return json.loads(self.store.read(f"{self.prefix}/sweep.json"))
        except NotFound:
            return {}

    def write(self, **changes: Any) -> None:
        self.store.put(f"{self.prefix}/sweep.json", json.dumps(self.read() | changes, indent=1).encode())

    def trial(self, found: Drawn) -> Recipe:
        """The recipe of a trial."""
        return applied(self.space, parse(Recipe, self.recipe), found)

    def plan(self, recipe: Recipe) -> TrainingPlan:
        return TrainingPlan.of(recipe, Dataset.open(self.store, recipe.data.name, recipe.data.version))


def named(label: str, space: Space, recipe: Recipe, dataset: Dataset) -> Sweep:
    """The sweep of these words; the dataset's version is fixed from here on."""
    pinned = recipe.model_copy(update={"data": recipe.data.model_copy(update={"version": dataset.version})})
    identity = json.dumps([space.model_dump(mode="json"), recipe.fingerprint(dataset.digest)], sort_keys=True)
    name = f"{label}-{recipe.name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"
    return Sweep(name, dataset.store, space, pinned.model_dump(mode="json"))


Told = Callable[[dict[str, Any], str], None]
"""Hears of each checkpoint: its metrics and its directory."""
