"""Two arms on the same images: the difference, its interval, and a test that the images of a cluster enter as one.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993); Fisher's sign-flip test, as in Smucker et al.,
CIKM 2007; Holm, Scandinavian Journal of Statistics 6 (1979).
"""

from dataclasses import dataclass

import numpy as np

from pipelines.experiments.table import Outcome
from xmodal.metrics.intervals import Interval, number
from xmodal.metrics.paired import paired

FLIPS = 10_000


@dataclass(frozen=True)
class Difference:
    """mean(arm) - mean(beside), in the measure's unit."""

    value: float
    interval: Interval | None
    p: float
    """Two-sided, of `FLIPS` sign flips; at least 1 / (FLIPS + 1)."""


def difference(arm: Outcome, beside: Outcome, seed: int = 0) -> Difference:
    """Raises ValueError where the two are not of the same images."""
    if arm.names != beside.names:
        raise ValueError("outcomes of different images cannot be compared")
    found = paired(arm.values, beside.values, arm.clusters)
    return Difference(found.difference, found.interval, sign_flip(arm, beside, seed))


def sign_flip(arm: Outcome, beside: Outcome, seed: int = 0) -> float:
    """Share of random signs, one for each cluster, whose difference is at least as far from 0 as the one found."""
    gaps = np.bincount(number(arm.clusters), weights=np.subtract(arm.values, beside.values))
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (FLIPS, len(gaps)))
    reached = np.abs(signs @ gaps) >= abs(gaps.sum()) * (1 - 1e-12)
    return float((reached.sum() + 1) / (FLIPS + 1))


def holm(values: list[float]) -> list[float]:
    """p values adjusted for testing all of them (family-wise error), in their order."""
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    raised = np.minimum(1.0, np.maximum.accumulate(np.asarray(values)[order] * factors))
    adjusted = np.empty(len(values))
    adjusted[order] = raised
    return adjusted.tolist()
