"""Where a group of workers begins: asked by Ray's controller before every start of one."""

from dataclasses import dataclass
from typing import Any

import ray

from pipelines.errors import Failed
from pipelines.train.runs import Run, resumable


@dataclass(frozen=True)
class StartStep:
    """The optimizer step that a (re)started worker group begins at: that of the newest checkpoint that verifies."""

    run: Run
    board: Any

    def __call__(self) -> int:
        """Raises Failed where a worker has said that the run must stop: Ray would start the group again."""
        reason = ray.get(self.board.stopped.remote())
        if reason is not None:
            raise Failed(reason)
        saved = resumable(self.run)
        return saved.step if saved else 0
