"""One answer an event from the answers for its frames: an animal that one frame shows well need not be seen in all.

The largest probability lets one sure frame speak for the event, the mean lets all its frames vote.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def largest(probabilities: Array, events: NDArray[np.int64]) -> Array:
    """(E, C) largest probability of each class over the frames of an event.

    `probabilities` (N, C) of frames, `events` (N,) numbers 0..E-1, each of which occurs.
    """
    pooled = np.zeros((int(events.max()) + 1, probabilities.shape[1]))
    np.maximum.at(pooled, events, probabilities)
    return pooled


def average(probabilities: Array, events: NDArray[np.int64]) -> Array:
    """(E, C) mean probability of each class over the frames of an event; arguments as in `largest`."""
    pooled = np.zeros((int(events.max()) + 1, probabilities.shape[1]))
    np.add.at(pooled, events, probabilities)
    return pooled / np.bincount(events)[:, None]


POOLINGS: dict[str, Callable[[Array, NDArray[np.int64]], Array]] = {"max": largest, "mean": average}
