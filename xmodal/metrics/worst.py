"""How bad it gets: the share right at the worst tenth of the places.

Sagawa et al. (ICLR 2020) and WILDS (Koh et al., ICML 2021: Amazon's 10th percentile of the users) ask a model for its
worst groups, since a mean hides them. Here: the mean over the worst tenth of the places, each place counting the same.
The worst of many small places is bad by accident alone, so the figure stands beside what it would be if the same right
and wrong answers were dealt out at random over the same places.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmodal.metrics.intervals import DRAWS, Interval, number, percentile, resample

Array = NDArray[np.float64]
DEALT = 200
"""Times that the answers are dealt."""


@dataclass(frozen=True)
class Worst:
    """Shares 0..1."""

    share: float
    """Mean share right at the worst places."""
    dealt: float
    """What it would be with the answers dealt at random over the places."""
    interval: Interval | None
    worst: int
    """Places that are the worst tenth, at least one."""
    places: int
    """Places with enough answers."""
    n: int
    """Answers at these places."""


def worst_tenth(
    right: Array, places: Sequence[Hashable] | NDArray, least: int = 5, draws: int = DRAWS, seed: int = 0
) -> Worst | None:
    """Of right (n,) 0 or 1 at places (n,), of the places with at least `least` answers; None with fewer than two.

    The interval resamples places.
    """
    numbers = number(places)
    enough = np.flatnonzero(np.bincount(numbers) >= least)
    kept = np.isin(numbers, enough)
    if len(enough) < 2:
        return None
    values, own = right[kept], np.searchsorted(enough, numbers[kept])
    sizes = np.bincount(own)
    worst = math.ceil(len(enough) / 10)
    one = np.ones((1, len(enough)))
    generator = np.random.default_rng(seed)
    dealt = [_tenth(np.bincount(own, generator.permutation(values)) / sizes, one, worst)[0] for _ in range(DEALT)]
    shares = np.bincount(own, values) / sizes
    drawn = _tenth(shares, resample(len(enough), draws, seed), worst)
    found = float(_tenth(shares, one, worst)[0])
    return Worst(found, float(np.mean(dealt)), percentile(drawn), worst, len(enough), len(values))


def _tenth(shares: Array, weights: NDArray, worst: int) -> Array:
    """(draws,) mean of the `worst` smallest shares (P,), each place there as often as its weight (draws, P)."""
    order = np.argsort(shares, kind="stable")
    reached = np.minimum(np.cumsum(weights[:, order], axis=1), worst)
    taken = np.diff(reached, axis=1, prepend=0)
    return taken @ shares[order] / worst
