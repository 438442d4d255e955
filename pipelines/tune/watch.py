"""What the driver does while trials train: shows the table, counts device-hours, frees what stopped trials held."""

import signal
import time
from dataclasses import replace
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from infra.groups import free_forsaken
from pipelines.tune.outcome import Outcome, outcome
from pipelines.tune.sweep import Sweep
from pipelines.tune.table import Progress

LOOK_SECONDS = 0.5
"""Between drawings of the table."""
DUE_SECONDS = 5.0
"""Between looks at placement groups, and between notes of what was spent."""


class Watch(Callback):
    """Tune's callback. A device is a GPU, or a CPU where there is none."""

    def __init__(
        self, sweep: Sweep, claims: Any, progress: Progress, at_once: int, devices: float, hours: float | None
    ):
        self.sweep, self.claims, self.progress, self.at_once, self.devices = sweep, claims, progress, at_once, devices
        self.limit = None if hours is None else 3600 * hours
        self.spent: float = sweep.read().get("device_seconds", 0.0)
        self.exhausted = False
        self.over = set[str]()
        self.last = self.due = self.shown = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks with its state; this one is made anew for a restored sweep."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        now = time.monotonic()
        self.over = {one.trial_id for one in trials if one.status in (Trial.TERMINATED, Trial.ERROR)}
        training = min(self.at_once, sum(one.status == Trial.RUNNING for one in trials))
        self.spent += (now - self.last) * self.devices * training
        self.last = now
        for one in trials:
            if one.status == Trial.PAUSED:
                self.claims.release.remote(one.trial_id)
        if now - self.shown > LOOK_SECONDS:
            self.shown = now
            self.progress.show([outcome(one) for one in trials], self.spent / 3600)
        if now - self.due > DUE_SECONDS:
            self.due = now
            free_forsaken()
            self.note()
        if self.limit is not None and self.spent >= self.limit and not self.exhausted:
            self.exhausted = True
            signal.raise_signal(signal.SIGINT)  # Tune saves its state and ends; its trials can go on from there

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.claims.release.remote(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.claims.release.remote(trial.trial_id)

    def outcome(self, trial: Trial) -> Outcome:
        """What became of a trial. Where a sweep is cut, Tune ends what was training, after it has saved that it was."""
        found = outcome(trial)
        cut = found.state == "stopped" and trial.trial_id not in self.over
        return replace(found, state="waiting") if cut else found

    def end(self, outcomes: list[Outcome]) -> None:
        """Shows and keeps what the sweep has come to."""
        self.progress.show(outcomes, self.spent / 3600)
        self.note()

    def note(self) -> None:
        """Keeps what was spent with the sweep."""
        self.sweep.write(device_seconds=round(self.spent, 1))
