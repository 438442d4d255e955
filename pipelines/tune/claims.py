"""Which trial trains which run: two that were drawn alike would write over each other.

It is a process of its own, so this module imports little.
"""

from typing import Any

import ray


@ray.remote(num_cpus=0)
class Claims:
    """Runs by the trial that has them."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}

    def take(self, run: str, trial: str) -> bool:
        """Whether `trial` has it from now on; False where another one that has not ended has it."""
        return self.holders.setdefault(run, trial) == trial

    def release(self, trial: str) -> None:
        """The trial has ended."""
        self.holders = {run: one for run, one in self.holders.items() if one != trial}


def claims() -> Any:
    """A new one, on this cluster."""
    return Claims.remote()
