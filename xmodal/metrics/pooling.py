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


def present(probabilities: Array, events: NDArray[np.int64]) -> Array:
    """(E, C + 1) of frames whose last class is the empty frame: an event is as surely empty as its least empty frame,
    and what is there the frames tell together, each as far as it shows anything. Arguments as in `largest`."""
    count = int(events.max()) + 1
    empty = np.ones(count)
    np.minimum.at(empty, events, probabilities[:, -1])
    shown = np.zeros((count, probabilities.shape[1] - 1))
    np.add.at(shown, events, probabilities[:, :-1])
    return shared_out(shown, empty)


def shared_out(shown: Array, empty: Array) -> Array:
    """(E, C + 1) of sums over an event's frames (E, C) and how surely it is empty (E,): what is not empty goes to the
    classes by their sums."""
    total = np.maximum(shown.sum(1), np.finfo(np.float64).tiny)
    return np.column_stack([shown * ((1 - empty) / total)[:, None], empty])
