"""Ray Tune's schedulers, which remember nothing when a sweep is restored: what they knew is read off the trials again.

A trial's last result carries its whole curve, [step, score] of each validation.
"""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler


class Rungs(ASHAScheduler):
    """Stops trials at rungs; never at the last step, where they end by themselves and close what they opened."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        for step, score in _curve(trial):
            self._trial_info[trial.trial_id].on_result(trial, step, score)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        decision = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if result["step"] >= result["steps"] else decision


class Population(PopulationBasedTraining):
    """All wait for each other at an exchange. A restored one goes on to the next, which comes when it would have."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        for step, score in _curve(trial)[-1:]:
            every, state = self._perturbation_interval, self._trial_state[trial]
            state.last_score, state.last_train_time = score, int(step)
            state.last_perturbation_time = int(step - step % every)
            self._next_perturbation_sync = max(self._next_perturbation_sync, state.last_perturbation_time + every)


def _curve(trial: Trial) -> list[list[float]]:
    return (trial.last_result or {}).get("curve", [])
