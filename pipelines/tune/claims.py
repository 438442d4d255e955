"""Which trial trains which run, and how many do: two that were drawn alike would write over each other.

It is a process of its own, so this module imports little.
"""

from typing import Any

import ray


@ray.remote(num_cpus=0)
class Claims:
    """At most `at_once` runs, by the trial that has them."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.holders: dict[str, str] = {}

    def take(self, run: str, trial: str) -> bool:
        """Whether `trial` has it from now on; False where another one that has not ended has it, or as many as may
        train at once have one."""
        if run not in self.holders and len(self.holders) < self.at_once:
            self.holders[run] = trial
        return self.holders.get(run) == trial

    def release(self, trial: str) -> None:
        """The trial has ended, or waits for the others of its population."""
        self.holders = {run: one for run, one in self.holders.items() if one != trial}


def claims(at_once: int) -> Any:
    """A new one, on this cluster."""
    return Claims.remote(at_once)
