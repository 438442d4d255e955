"""A table of experiments: arms that differ from a baseline by some settings, tried and measured alike.

What is fixed before any run: the arms and what each is compared with, one primary measure, one list of trials for all
arms. The trial with the best validation score is chosen for each arm by itself; the test split is asked once for each
seed, by the chosen trial.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pipelines.evaluate.subject import Subject
from pipelines.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class Outcome:
    """What a model gets of one split; row n of all fields is one image."""

    names: list[str]
    """Sample ids."""
    values: list[float]
    """The primary measure of each image: its mean over the images is the figure."""
    clusters: list[str]
    """What is resampled and permuted: images of one cluster are not independent."""


@dataclass(frozen=True)
class Arm:
    """One row of the page."""

    name: str
    settings: tuple[str, ...] = ()
    """Overrides of the table's recipe."""
    beside: str = "baseline"
    """The arm that it differs from in one thing."""
    asks: str = ""
    """The question that the difference answers, in a few words."""
    last: tuple[str, ...] | None = None
    """What is tried in place of the table's last trial, where that one changes nothing of this arm."""
    strangers: bool = False
    """Each image learns to write another image's caption: the control of captioning."""


@dataclass(frozen=True)
class Table:
    """Arms on one dataset."""

    name: str
    title: str
    recipe: tuple[str, ...]
    """Recipe arguments that all arms share."""
    arms: tuple[Arm, ...]
    """The baseline first."""
    trials: tuple[tuple[str, ...], ...]
    """Overrides tried for every arm alike, but for its `last`."""
    seeds: int
    """Runs of each arm whose outcomes are averaged image by image."""
    measure: Callable[[Subject], Outcome]
    unit: str
    """Of the primary measure, in words."""
    note: str = ""
    """What must be known to read the figures."""
    claims: dict[str, str] = field(default_factory=dict)
    """Other figures of the test split by their name behind it (e.g. "claims/c1_drift"), and the head of their column.
    They choose nothing and are not tested."""

    def run(self, arm: Arm, trial: int, seed: int) -> Recipe:
        """The recipe of one run. Raises SettingsError."""
        tried = (*self.trials[:-1], arm.last or self.trials[-1])[trial]
        return load_recipe([*self.recipe, *arm.settings, *tried, f"train.seed={seed}"])

    def arm(self, name: str) -> Arm:
        return next(one for one in self.arms if one.name == name)


def averaged(outcomes: list[Outcome]) -> Outcome:
    """The mean over seeds, image by image; all seeds see the same images."""
    values = np.mean([one.values for one in outcomes], axis=0)
    return Outcome(outcomes[0].names, values.tolist(), outcomes[0].clusters)
