"""Points on their way to a server that may be slow or dead: a bounded queue and one thread, so no step ever waits."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

Point = TypeVar("Point")

QUEUE_POINTS = 100_000
"""Points kept while the server does not answer; beyond it the oldest are given up."""
BATCH_POINTS = 1000
IDLE_SECONDS = 1.0
PAUSE_SECONDS = 3.0

logger = logging.getLogger("xmodal.tracking")


class Refused(Exception):
    """The server answered that it will never take this batch."""


class Delivery(Generic[Point]):
    """Delivers points in order by `send`; whatever `send` raises but Refused is taken for an outage, and retried.

    One warning is logged in a lifetime, at the first failure; `close` adds one where points were lost.
    """

    def __init__(
        self, send: Callable[[Sequence[Point]], None], sample: Callable[[], Sequence[Point]], name: str
    ) -> None:
        """`sample` is called about once a second by the thread and gives further points."""
        self._send, self._sample, self._name = send, sample, name
        self._points: deque[Point] = deque(maxlen=QUEUE_POINTS)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._warned = False
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def add(self, points: Sequence[Point]) -> None:
        """Never blocks on the server."""
        with self._lock:
            self._lost += max(0, len(self._points) + len(points) - QUEUE_POINTS)
            self._points.extend(points)

    def close(self, seconds: float) -> int:
        """Delivers what is left, for `seconds` at most; returns and warns of the number of points given up."""
        self._closing.set()
        self._thread.join(seconds)
        with self._lock:
            lost = self._lost + len(self._points)
            self._points.clear()
        if lost:
            logger.warning("%s: %d points could not be delivered", self._name, lost)
        return lost

    def _run(self) -> None:
        while not self._closing.wait(IDLE_SECONDS):
            self.add(self._sample())
            while self._points and self._deliver():
                continue
        while self._points and self._deliver():
            continue

    def _deliver(self) -> bool:
        """Sends the first batch; False where the server does not answer, after a pause."""
        with self._lock:
            batch = list(islice(self._points, BATCH_POINTS))
        try:
            self._send(batch)
        except Refused as error:
            self._warn(error)
            self._lost += len(batch)
        except Exception as error:
            self._warn(error)
            self._closing.wait(PAUSE_SECONDS)
            return False
        self._drop(batch)
        return True

    def _drop(self, batch: Sequence[Point]) -> None:
        with self._lock:
            for point in batch:
                if self._points and self._points[0] is point:  # an overflow may have dropped it already
                    self._points.popleft()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = " ".join(str(error).split())[:200]
            logger.warning("%s does not take points, training goes on without it: %s", self._name, reason)


def nothing() -> tuple[Any, ...]:
    """A sampler without points."""
    return ()


class NoDelivery:
    """Takes every point and delivers none."""

    def add(self, points: Sequence[object]) -> None:
        return

    def close(self, seconds: float) -> int:
        return 0


def every(seconds: float, collect: Callable[[], Sequence[Point]]) -> Callable[[], Sequence[Point]]:
    """`collect` at most once in `seconds`, nothing in between."""
    last = -float("inf")

    def sample() -> Sequence[Point]:
        nonlocal last
        if time.monotonic() - last < seconds:
            return ()
        last = time.monotonic()
        return collect()

    return sample
