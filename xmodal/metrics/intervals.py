"""95 % intervals: percentile bootstrap over groups of rows that are not independent, and Wilson's for a single share.

Frames of one camera resemble each other, so places are resampled, not images; images where no place is known. One group
tells nothing about other groups: there is no interval then, and `None` says so. A row that is NaN (a query without a
right answer in the gallery) counts in no mean. Equal seeds and groups give equal draws.

A row may belong to several groups, with a share in each (one text of images at several places): it then has the weight
of its shares in the groups that are drawn, each as often as it is drawn.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), sections 8.3, 11.2 and 13.3; Wilson, JASA 22
(1927).
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2000
"""Resamples of an interval."""
JACKKNIFE_BLOCKS = 20


Groups = Sequence[Hashable | Mapping[Any, float]] | NDArray
"""The group of each row, or its share in each of several groups, which sum to 1."""


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
    one, shares = np.zeros(len(rows), dtype=np.int64), np.ones(len(rows))
    return float(_means(rows, one, shares, classes, np.ones((1, 1), np.float32))[0]) if len(rows) else math.nan


def mean_interval(
    values: ArrayLike,
    groups: Groups,
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
    parts: Sequence[tuple[ArrayLike, Groups]],
    classes: Sequence[Hashable] | NDArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Interval of a sum of means (rsum), its parts resampled together: (values, groups) pairs over common groups."""
    total = drawn_sums(parts, classes, draws, seed)
    return None if total is None else percentile(total, level)


def drawn_sums(
    parts: Sequence[tuple[ArrayLike, Groups]],
    classes: Sequence[Hashable] | NDArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> NDArray[np.float64] | None:
    """(draws,) the sum of means in each resample of the groups that the parts share; None with fewer than two groups.

    `classes` is for a single part.
    """
    every = [_members(np.asarray(values, dtype=np.float64), groups) for values, groups in parts]
    numbers = number([label for part in every for label in part.groups])
    if len(numbers) == 0 or numbers.max() == 0:
        return None
    weights, start = resample(int(numbers.max()) + 1, draws, seed), 0
    total = np.zeros(draws)
    for part in every:
        stop = start + len(part.groups)
        names = None if classes is None else np.asarray(classes, dtype=object)[part.rows]
        total += _means(part.values, numbers[start:stop], part.shares, names, weights)
        start = stop
    return total


def median_interval(
    values: ArrayLike, groups: Groups, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> Interval | None:
    """Interval of the lower median of (n,) values when the groups are drawn with replacement."""
    found = _members(np.asarray(values, dtype=np.float64), groups)
    numbers = number(found.groups)
    if len(numbers) == 0 or numbers.max() == 0:
        return None
    order = np.argsort(found.values, kind="stable")
    ordered, numbers, shares = found.values[order], numbers[order], found.shares[order]
    medians = np.empty(draws)
    for draw, weights in enumerate(resample(int(numbers.max()) + 1, draws, seed)):
        reached = np.cumsum(weights[numbers] * shares)
        # sums of shares fall short of a half by rounding alone
        medians[draw] = ordered[np.searchsorted(reached, reached[-1] / 2 - 1e-9)]
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


class _Members(NamedTuple):
    """Each of the rows that have a value once for each of its groups; (m,) each."""

    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    groups: list[Hashable]
    shares: NDArray[np.float64]


def _members(values: NDArray, groups: Groups) -> _Members:
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} values and {len(groups)} groups: one group a value is needed")
    found = [
        (row, group, share)
        for row, own in enumerate(groups)
        if not math.isnan(values[row])
        for group, share in (own.items() if isinstance(own, Mapping) else [(own, 1.0)])
    ]
    rows = np.array([row for row, _, _ in found], dtype=np.int64)
    return _Members(rows, values[rows], [group for _, group, _ in found], np.array([share for _, _, share in found]))


def _means(
    values: NDArray, groups: NDArray, shares: NDArray, classes: Sequence[Hashable] | NDArray | None, weights: NDArray
) -> NDArray[np.float64]:
    """(draws,) macro means from sums and counts of every (group, class) pair: one matrix product for all draws."""
    kept = ~np.isnan(values)
    of_class = np.zeros(len(values), np.int64) if classes is None else number(classes)
    columns = int(of_class.max(initial=0)) + 1
    cell = groups[kept] * columns + of_class[kept]
    cells = (weights.shape[1], columns)
    sums = np.bincount(cell, (shares * values)[kept], cells[0] * columns).reshape(cells)
    counts = np.bincount(cell, shares[kept], cells[0] * columns).reshape(cells)
    there = weights @ counts
    with np.errstate(invalid="ignore"):
        means = (weights @ sums) / there
    held = (there > 0).sum(1)
    return np.where(held > 0, np.nansum(means, 1) / np.maximum(held, 1), np.nan)
