"""95 % intervals: percentile bootstrap over groups of rows that are not independent, and Wilson's for a single share.

Frames of one camera resemble each other, so places are resampled, not images; images where no place is known. One group
tells nothing about other groups: there is no interval then, and `None` says so. A row that is NaN (a query without a
right answer in the gallery) counts in no mean. Equal seeds and groups give equal draws.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), sections 8.3, 11.2 and 13.3; Wilson, JASA 22
(1927).
"""

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2000
"""Resamples of an interval."""
JACKKNIFE_BLOCKS = 20


class Interval(NamedTuple):
    low: float
    high: float


def number(labels: Sequence[Hashable] | NDArray) -> NDArray[np.int64]:
    """(n,) group numbers 0..G-1 of any labels, in sorted order of their text."""
    names = [str(label) for label in labels]
    position = {name: index for index, name in enumerate(sorted(set(names)))}
    return np.array([position[name] for name in names], dtype=np.int64)


def resample(groups: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float32]:
    """(draws, G) how often each of G groups is in each resample."""
    chosen = np.random.default_rng(seed).integers(0, groups, (draws, groups))
    flat = (chosen + np.arange(draws)[:, None] * groups).ravel()
    return np.bincount(flat, minlength=draws * groups).reshape(draws, groups).astype(np.float32)


def mean(values: ArrayLike, classes: Sequence[Hashable] | NDArray | None = None) -> float:
    """Mean of (n,) values that are not NaN; with `classes` (n,) the mean of the class means (macro). NaN if none."""
    rows = np.asarray(values, dtype=np.float64)
    ones = np.zeros(len(rows), dtype=np.int64)
    return float(_means(rows, ones, classes, np.ones((1, 1), np.float32))[0]) if len(rows) else math.nan


def mean_interval(
    values: ArrayLike,
    groups: Sequence[Hashable] | NDArray,
    classes: Sequence[Hashable] | NDArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Interval of `mean(values, classes)` when the groups (n,) are drawn with replacement.

    A class that a draw does not hold is left out of that draw's class means.
    """
    return sum_interval([(values, groups)], classes=classes, draws=draws, seed=seed, level=level)


def sum_interval(
    parts: Sequence[tuple[ArrayLike, Sequence[Hashable] | NDArray]],
    classes: Sequence[Hashable] | NDArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Interval of a sum of means (rsum), its parts resampled together: (values, groups) pairs over common groups."""
    total = drawn_sums(parts, classes, draws, seed)
    return None if total is None else percentile(total, level)


def drawn_sums(
    parts: Sequence[tuple[ArrayLike, Sequence[Hashable] | NDArray]],
    classes: Sequence[Hashable] | NDArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> NDArray[np.float64] | None:
    """(draws,) the sum of means in each resample of the groups that the parts share; None with fewer than two groups.

    `classes` is for a single part.
    """
    every = [(np.asarray(values, dtype=np.float64), list(groups)) for values, groups in parts]
    numbers = number([label for values, groups in every for label in _kept(values, groups)])
    if len(numbers) == 0 or numbers.max() == 0:
        return None
    weights, start = resample(int(numbers.max()) + 1, draws, seed), 0
    total = np.zeros(draws)
    for values, _ in every:
        kept = ~np.isnan(values)
        stop = start + int(kept.sum())
        names = None if classes is None else np.asarray(classes, dtype=object)[kept]
        total += _means(values[kept], numbers[start:stop], names, weights)
        start = stop
    return total


def median_interval(
    values: ArrayLike, groups: Sequence[Hashable] | NDArray, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> Interval | None:
    """Interval of the lower median of (n,) values when the groups are drawn with replacement."""
    rows = np.asarray(values, dtype=np.float64)
    kept = np.flatnonzero(~np.isnan(rows))
    order = kept[np.argsort(rows[kept], kind="stable")]
    numbers = number(_kept(rows, list(groups)))
    if len(numbers) == 0 or numbers.max() == 0:
        return None
    numbers = numbers[np.argsort(rows[kept], kind="stable")]
    medians = np.empty(draws)
    for draw, weights in enumerate(resample(int(numbers.max()) + 1, draws, seed)):
        reached = np.cumsum(weights[numbers])
        medians[draw] = rows[order[np.searchsorted(reached, reached[-1] / 2)]]
    return percentile(medians, level)


def percentile(draws: NDArray, level: float = 0.95) -> Interval | None:
    """The middle `level` of the draws that are not NaN."""
    kept = draws[~np.isnan(draws)]
    if len(kept) == 0:
        return None
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def jackknife_interval(
    value: Callable[[NDArray[np.bool_]], float],
    groups: Sequence[Hashable] | NDArray,
    blocks: int = JACKKNIFE_BLOCKS,
    level: float = 0.95,
) -> Interval | None:
    """Delete-a-block jackknife of `value(kept)`, kept (n,) bool: for statistics that the repeated rows of a bootstrap
    would distort. Groups are dealt into `blocks` blocks, or stand alone where there are fewer."""
    from scipy.stats import t

    block = number(groups) % blocks
    count = int(block.max()) + 1
    if count < 2:
        return None
    left = np.array([value(block != one) for one in range(count)])
    error = math.sqrt((count - 1) / count * float(((left - left.mean()) ** 2).sum()))
    whole, half = value(np.ones(len(block), bool)), float(t.ppf((1 + level) / 2, count - 1)) * error
    return Interval(whole - half, whole + half)


def wilson(right: int, n: int, level: float = 0.95) -> Interval | None:
    """Wilson's score interval of a share right / n of independent trials; None where n is 0."""
    if n == 0:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, scale = right / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def _kept(values: NDArray, groups: list[Hashable]) -> list[Hashable]:
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} values and {len(groups)} groups: one group a value is needed")
    return [group for value, group in zip(values, groups, strict=True) if not math.isnan(value)]


def _means(
    values: NDArray, groups: NDArray, classes: Sequence[Hashable] | NDArray | None, weights: NDArray
) -> NDArray[np.float64]:
    """(draws,) macro means from sums and counts of every (group, class) pair: one matrix product for all draws."""
    kept = ~np.isnan(values)
    of_class = np.zeros(len(values), np.int64) if classes is None else number(classes)
    columns = int(of_class.max(initial=0)) + 1
    cell = groups[kept] * columns + of_class[kept]
    cells = (weights.shape[1], columns)
    sums = np.bincount(cell, values[kept], cells[0] * columns).reshape(cells)
    counts = np.bincount(cell, minlength=cells[0] * columns).reshape(cells)
    there = weights @ counts
    with np.errstate(invalid="ignore"):
        means = (weights @ sums) / there
    held = (there > 0).sum(1)
    return np.where(held > 0, np.nansum(means, 1) / np.maximum(held, 1), np.nan)
