"""Ray Data's scheduling loop, slowed to what a training run needs.

The loop waits only while a task runs. Where readers are ahead of training, which is the rule, none does, and it turns
as fast as it can: on a machine of two cores it took as much of them as a training worker.
"""

import time
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

PAUSE = 0.05
"""Seconds after each turn of the loop; a block that is ready waits no longer for it."""


class Pace(ExecutionCallback):
    """What a dataset's context takes among its `custom_execution_callback_classes`."""

    def on_execution_step(self, executor: Any) -> None:
        time.sleep(PAUSE)
