"""Macro F1: the mean over classes of 2 TP / (2 TP + FP + FN).

The classes are those that the truth holds (WILDS, Koh et al., ICML 2021, iWildCam); a class that is only ever named
wrongly lowers the precision of none of them and is no class of the mean. Where every row has one true and one named
class, micro F1 over all classes is the share right, so `classification.hits` gives it.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from xmodal.metrics.intervals import DRAWS, Interval, number, percentile, resample

Array = NDArray[np.float64]


def macro_f1(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Of n rows. Raises ValueError where there is none, or labels do not pair up."""
    counts = _counts(truth, predicted, np.zeros(len(truth), np.int64))
    return float(_macro(*(table.sum(0, keepdims=True) for table in counts))[0])


def macro_f1_interval(
    truth: Sequence[str],
    predicted: Sequence[str],
    groups: Sequence[Hashable] | NDArray,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """Bootstrap of `macro_f1` over groups (n,); a draw's classes are those of its own rows. None for one group."""
    numbers = number(groups)
    every = int(numbers.max()) + 1
    weights = resample(every, draws, seed)
    drawn = _macro(*(weights @ table for table in _counts(truth, predicted, numbers)))
    return percentile(drawn) if every > 1 else None


def macro_f1_chance(truth: Sequence[str], candidates: int) -> float:
    """Macro F1 of a guess among `candidates` classes, each as likely, from the expected counts: the mean over classes
    of 2 n_c / (C n_c + n), with n_c of n rows in the class and C candidates."""
    there = np.unique(np.asarray(truth, dtype=object).astype(str), return_counts=True)[1]
    return float((2 * there / (candidates * there + len(truth))).mean())


def _counts(truth: Sequence[str], predicted: Sequence[str], groups: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """(G, C) each: rows rightly named, rows named so, rows of the class."""
    if len(truth) != len(predicted) or len(truth) == 0:
        raise ValueError(f"{len(truth)} true and {len(predicted)} predicted labels: they must pair up, at least one")
    position = {label: index for index, label in enumerate(sorted({*truth, *predicted}))}
    own = np.array([position[label] for label in truth])
    said = np.array([position[label] for label in predicted])
    shape = (int(groups.max()) + 1, len(position))
    cells = (groups * shape[1] + own, groups * shape[1] + said)
    there, named, right = (
        np.asarray(np.bincount(cell, weights, shape[0] * shape[1]), np.float64).reshape(shape)
        for cell, weights in ((cells[0], np.ones(len(own))), (cells[1], np.ones(len(own))), (cells[0], own == said))
    )
    return right, named, there


def _macro(right: Array, named: Array, there: Array) -> Array:
    """(draws,) from (draws, C) counts."""
    f1 = 2 * right / np.maximum(named + there, 1)
    held = there > 0
    return np.where(held, f1, 0).sum(1) / held.sum(1)
