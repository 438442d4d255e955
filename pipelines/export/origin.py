"""Which model, dataset version, recipe and code an export came from, as every export says it."""

from dataclasses import dataclass
from typing import Any

from pipelines.code import code_version
from pipelines.recipe import Recipe
from xmodal.inference import Inference
from xmodal.settings import load

NAMES = ("run", "step", "dataset", "dataset_version", "dataset_digest")
"""What of a checkpoint's state says where it came from."""


@dataclass(frozen=True)
class Origin:
    """One checkpoint."""

    recipe: Recipe
    state: dict[str, Any]
    weights: str
    """SHA-256 of its weights."""

    @classmethod
    def of(cls, model: Inference) -> "Origin":
        return cls(load(Recipe, (), below=model.recipe), model.state, model.weights)

    @property
    def name(self) -> str:
        """run@step, as predictions name a model."""
        return f"{self.state['run']}@{self.state['step']}"

    @property
    def document(self) -> dict[str, Any]:
        """All that there is to say."""
        made_by = f"{self.recipe.name} {self.recipe.fingerprint(self.state['dataset_digest'])}"
        trained_on = f"{self.state['dataset']}@{self.state['dataset_version']}"
        told = {"model": self.name, "trained_on": trained_on, "recipe": made_by, "weights": self.weights}
        return told | {name: self.state[name] for name in NAMES} | {"code": code_version()}
