"""One model beside another on the same rows: what both find hard cancels out.

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 16; Koehn, EMNLP 2004, for the share of
resamples in which one is better.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xmodal.metrics.intervals import DRAWS, Interval, drawn_sums, mean, percentile


@dataclass(frozen=True)
class Paired:
    """mean(first) - mean(second), in the values' own unit."""

    difference: float
    interval: Interval | None
    better: float | None
    """Share of the resamples in which the first is better, 0..1; a tie counts half. None without an interval."""
    n: int
    """Rows that both have a value for."""


def paired(
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[Hashable] | NDArray,
    classes: Sequence[Hashable] | NDArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Paired:
    """Of (n,) values each, resampling groups (n,); with `classes` (n,) of class means. A row that is NaN in either
    counts in neither."""
    gap = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    drawn = drawn_sums([(gap, groups)], classes, draws, seed)
    n = int((~np.isnan(gap)).sum())
    if drawn is None:
        return Paired(mean(gap, classes), None, None, n)
    kept = drawn[~np.isnan(drawn)].round(12)  # a tie of sums of fractions is one to within rounding
    better = float((kept > 0).mean() + (kept == 0).mean() / 2)
    return Paired(mean(gap, classes), percentile(drawn), better, n)
