"""The one retry: a call that may be repeated is, until an answer comes or patience ends."""

import time
from collections.abc import Callable
from typing import TypeVar

from infra.storage.contract import StorageError, Unreachable

Result = TypeVar("Result")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between attempts, doubled each time."""


def repeated(patience: float, attempt: Callable[[], Result], passing: type[StorageError] = Unreachable) -> Result:
    """What `attempt` returns. Raises its error of kind `passing` once `patience` seconds have passed; any other is an
    answer."""
    deadline = time.monotonic() + patience
    pause = FIRST_PAUSE
    while True:
        try:
            return attempt()
        except passing:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
