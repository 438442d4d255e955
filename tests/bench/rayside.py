"""What a side on Ray leaves behind: the actors of an execution end, or even start, after its last result."""

import time

from tests.bench.processes import running

SETTLE_SECONDS = 120.0
ACTORS = ("MapWorker", "SplitCoordinator")


def settle() -> None:
    """Waits until no actor of Ray Data runs, so that the other side is not charged. Raises TimeoutError."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while left := running(ACTORS):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still running after {SETTLE_SECONDS:.0f} s: {', '.join(left)}")
        time.sleep(0.1)
