"""What became of a trial."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial

from pipelines.tune.trial import FAILED

STATES = {"RUNNING": "running", "PENDING": "waiting", "PAUSED": "waiting", "ERROR": "crashed"}


@dataclass(frozen=True)
class Outcome:
    """One trial as it stands: `curve` is [step, score] of each validation, `drawn` its values by setting."""

    trial: str
    state: str
    """running, waiting, complete, stopped (at a rung), failed (it would again), crashed (it is tried again)."""
    drawn: dict[str, Any]
    step: int
    steps: int
    best: float
    """Highest score of its validations."""
    run: str
    curve: list[list[float]]
    why: str = ""
    """Of one that failed or crashed."""
    values: dict[str, Any] = field(default_factory=dict)
    """What was drawn as the recipe has it; of one that has not reported yet nothing."""
    schedule: list[list[Any]] = field(default_factory=list)
    """[step, values from there on]: more than one where a population exchanged what it had found."""

    @property
    def over(self) -> bool:
        return self.state not in ("running", "waiting")


def outcome(trial: Trial) -> Outcome:
    """Of one of Tune's trials."""
    told = trial.last_result or {}
    step, steps, why = told.get("step", 0), told.get("steps", 0), told.get("failed", "")
    ended = "failed" if why else "complete" if steps and step >= steps else "stopped"
    state = STATES.get(trial.status, ended)
    if state == "crashed":
        why = reason(str(trial.get_error() or ""))
    best, curve = told.get("best", FAILED), told.get("curve", [])
    drawn, run = trial.config["drawn"], told.get("run", "")
    values, schedule = told.get("values", {}), told.get("schedule", [])
    return Outcome(trial.trial_id, state, drawn, step, steps, best, run, curve, why, values, schedule)


def reason(error: str) -> str:
    """The line of a traceback that names the error: Ray puts advice behind it."""
    named = [line for line in error.splitlines() if re.match(r"[\w.]*(Error|Exception|Died|Killed)\w*\b.*", line)]
    return (named or ["its process died"])[-1][:300]


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Complete trials first, then by their best score."""
    return sorted(outcomes, key=lambda one: (one.state == "complete", one.best), reverse=True)


def value(drawn: Any) -> str:
    """Of a setting, for people."""
    return f"{drawn:.3g}" if isinstance(drawn, float) else str(drawn)
