"""Which model, dataset version and recipe made an output, as every output says it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.code import code_version
from pipelines.predictions.trust import Trust
from pipelines.recipe import Recipe
from xmodal.inference import Inference
from xmodal.settings import load

MADE_BY = "made_by.json"


@dataclass(frozen=True)
class Maker:
    """One model that was asked about some images."""

    trust: Trust
    recipe: str
    fingerprint: str
    wanted: float
    """Share of right answers asked for."""
    asked: dict[str, Any]
    """The dataset version or folder."""
    at: str
    """When it was first asked, ISO 8601 in UTC."""

    @classmethod
    def of(cls, folder: Path, model: Inference, trust: Trust, wanted: float, asked: dict[str, Any]) -> "Maker":
        """A run that goes on keeps the time at which it began."""
        recipe = load(Recipe, (), below=model.recipe)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        earlier = _earlier(folder)
        same = earlier.get("weights") == trust.weights and earlier.get("asked") == asked
        fingerprint = recipe.fingerprint(trust.dataset_digest)
        return cls(trust, recipe.name, fingerprint, wanted, asked, earlier["at"] if same else now)

    @property
    def model(self) -> str:
        """model@version, as Camtrap DP's classifiedBy has it: the run, and the step of its checkpoint."""
        return f"{self.trust.run}@{self.trust.step}"

    @property
    def trained_on(self) -> str:
        """dataset@version."""
        return f"{self.trust.dataset}@{self.trust.dataset_version}"

    @property
    def columns(self) -> dict[str, str]:
        """What each row of a table says."""
        return {"model": self.model, "trained_on": self.trained_on, "recipe": f"{self.recipe} {self.fingerprint}"}

    @property
    def document(self) -> dict[str, Any]:
        """All that there is to say."""
        trust, key = self.trust, str(self.wanted)
        names = ("run", "step", "weights", "dataset", "dataset_version", "dataset_digest", "temperature")
        told: dict[str, Any] = self.columns | {name: getattr(trust, name) for name in names}
        needed = {"frames": trust.of_frames[key], "events": trust.of_events[key]}
        return told | {"precision": self.wanted, "thresholds": needed, "asked": self.asked, "at": self.at,
                       "code": code_version()}  # fmt: skip


def _earlier(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / MADE_BY).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
