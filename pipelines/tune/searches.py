"""How a space is searched: by successive halving of drawn trials (ASHA), or by a population that exchanges what it
has found while it trains (PBT)."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from xmodal.settings import Settings, SettingsError

ALTERED = re.compile(r"model\.momentum\.\w+|model\.tasks\.\w+\.weight|train\.optimizer\.\w+")
"""Settings that may change while a model trains: none of them has a part in the shapes of a checkpoint."""


class Asha(Settings):
    """Trials drawn by Optuna; at each rung the best of those that came so far go on (Li et al., MLSys 2020)."""

    kind: Literal["asha"]
    trials: int = Field(default=16, ge=1)
    """Trials drawn."""
    reduction: int = Field(default=3, ge=2)
    """Of so many at a rung one goes on."""
    grace: int | None = Field(default=None, ge=1)
    """Optimizer steps before the first rung; without it as many as the slowest key encoder of the space needs to
    arrive, and never fewer."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Optuna's tree-structured Parzen estimator, or draws that learn nothing."""
    seed: int = 0
    """Of the draws."""

    def check(self, settings: Mapping[str, Any]) -> None:
        return


class Pbt(Settings):
    """A population that trains side by side; now and then the worst go on from the best ones' weights, with their
    settings mutated (Jaderberg et al., 2017). What it finds is a schedule."""

    kind: Literal["pbt"]
    trials: int = Field(default=4, ge=2)
    """Size of the population."""
    every: int | None = Field(default=None, ge=1)
    """Optimizer steps between exchanges; without it a tenth of the run."""
    quantile: float = Field(default=0.25, gt=0, le=0.5)
    """Share of the population that is replaced, by as many of the best."""
    grace: int | None = Field(default=None, ge=1)
    """Optimizer steps before the first exchange; without it as many as the slowest key encoder of the space needs to
    arrive, and never fewer."""
    seed: int = 0
    """Of the first draws and of the mutations."""

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raises SettingsError where something is searched that cannot change while a model trains."""
        for path, domain in settings.items():
            if not ALTERED.fullmatch(path):
                allowed = "weights of tasks, model.momentum and train.optimizer"
                raise SettingsError(f"settings.{path}: cannot change while a model trains; pbt takes {allowed}")
            if domain.when:
                raise SettingsError(f"settings.{path}.when: pbt takes no conditions")


Search = Annotated[Asha | Pbt, Field(discriminator="kind")]
