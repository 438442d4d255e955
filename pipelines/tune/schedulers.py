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
    """All wait for each other at an exchange, the first one at the end of the grace, and there is none at the last
    step. A restored one goes on to the next that has not been, which is where the slowest trial will come to first."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        for step, score in _curve(trial)[-1:]:
            self._trial_state[trial].last_score, self._trial_state[trial].last_train_time = score, int(step)
        every = int(self._perturbation_interval)
        first = max(int(self._burn_in_period), every)
        slowest = int(min(state.last_train_time for state in self._trial_state.values()))
        been = max(0, (slowest - first) // every + 1)
        self._next_perturbation_sync = first + been * every
        for state in self._trial_state.values():
            state.last_perturbation_time = self._next_perturbation_sync - every if been else 0

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if result["step"] >= result["steps"]:
            return TrialScheduler.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Where the one that all waited for has ended before it came, they go on without that exchange: Tune would
        wait for ever."""
        living = tune_controller.get_live_trials()
        if living and all(one.status == Trial.PAUSED for one in living):
            slowest = min(self._trial_state[one].last_train_time for one in living)
            while self._next_perturbation_sync <= slowest:
                self._next_perturbation_sync += self._perturbation_interval
        return super().choose_trial_to_run(tune_controller)


def _curve(trial: Trial) -> list[list[float]]:
    return (trial.last_result or {}).get("curve", [])
