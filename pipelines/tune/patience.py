"""How long a trial is left alone, and what the momentum advisor says of a space, before anything is trained.

A key encoder that follows slowly teaches nothing until it has arrived: a rung before that would choose the quick ones,
whatever they come to. Arrived is (1 - m) * steps = 5, where m changes sum(1 - m_t) = 5.
"""

import math
import re

from pipelines.advice import ARRIVES, told
from pipelines.recipe import Recipe
from pipelines.tune.space import Space, applied, corners
from xmodal.momentum import MomentumSettings
from xmodal.settings import SettingsError


def arrival(momentum: MomentumSettings, steps: int) -> int:
    """Optimizer steps until the key encoder has arrived; `steps`, the run's length, where it never does."""
    if not momentum.changes and momentum.coefficient < 1:
        return min(steps, math.ceil(round(ARRIVES / (1 - momentum.coefficient), 6)))
    followed = 0.0
    for step in range(steps):
        followed += 1 - momentum.at(step)
        if followed >= ARRIVES:
            return step + 1
    return steps


def grace(space: Space, recipe: Recipe, steps: int) -> int:
    """Steps in which no trial of a run of `steps` is stopped or replaced: until the slowest key encoder of all corners
    has arrived, or longer where the space asks for it. Raises SettingsError where it asks for less."""
    needed = max(arrival(applied(space, recipe, one).model.momentum, steps) for one in corners(space))
    if space.search.grace is None:
        return needed
    if space.search.grace < needed:
        raise SettingsError(
            f"search.grace {space.search.grace}: the slowest key encoder of this space arrives after {needed} steps, 5 "
            "/ (1 - m); a rung before that would choose the quick ones"
        )
    return min(steps, space.search.grace)


def advised(space: Space, recipe: Recipe, steps: int, rows: int, share: float | None) -> list[str]:
    """What the advisor warns of at the corners, each kind of warning once, with the first corner it is told of. Raises
    SettingsError where a corner is no recipe."""
    found: dict[str, str] = {}
    for corner in corners(space):
        there = " ".join(f"{path}={value:.4g}" if isinstance(value, float) else f"{path}={value}"
                         for path, value in corner.items())  # fmt: skip
        for line in told(applied(space, recipe, corner), steps, rows, share):
            if line.startswith("WARNING: "):
                text = line.removeprefix("WARNING: ")
                found.setdefault(re.sub(r"[\d.]+", "", text), f"where {there} is drawn: {text}")
    return list(found.values())
