"""What the norm of the gradient, before its clip, says of a run: whether it goes on, and what to show of it.

The clip makes a single large gradient harmless, so it is told and no more. One that stays far above what was usual
means that training has left its way: the run ends for good, and its best checkpoint stays.
"""

import math
from collections import deque
from statistics import median

from pipelines.errors import Failed, NonFinite

USUAL, LEAST = 100, 20
"""Earlier steps whose median is what is usual, and how many there must be."""
FACTOR = 100.0
"""Times the usual norm from which a gradient is large."""
PATIENCE = 20
"""Steps in a row with a large gradient that end the run."""


class GradientWatch:
    """The norms of the last steps. A run that resumes begins anew."""

    def __init__(self) -> None:
        self.norms: deque[float] = deque(maxlen=USUAL)
        self.large = 0

    def look(self, norm: float, step: int) -> dict[str, str]:
        """What to show of the gradient of `step`. Raises NonFinite where it is not finite, and Failed at the last step
        of PATIENCE."""
        if not math.isfinite(norm):
            raise NonFinite(f"the gradient is not finite at step {step}; the last checkpoint stays")
        usual = median(self.norms) if len(self.norms) >= LEAST else math.inf
        if norm <= FACTOR * usual:
            self.norms.append(norm)
            self.large = 0
            return {}
        self.large += 1
        if self.large == PATIENCE:
            raise Failed(
                f"the gradient has been over {FACTOR:.0f} times its usual norm of {usual:.3g} for {PATIENCE} steps, up "
                f"to step {step} ({norm:.3g}); the best checkpoint stays. Lower train.optimizer.learning_rate or "
                "train.optimizer.clip_norm"
            )
        return {"gradient": f"{norm / usual:.0f} times the usual" if usual else "up from nothing"}
