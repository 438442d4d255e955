"""Whether a confidence can be believed: of the answers given with 80 %, are 80 % right?

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017: expected calibration error (ECE) in equal-width
bins of the confidence of the answer given (eq. 3), reliability diagrams, and temperature scaling (section 4.2).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmodal.metrics.intervals import DRAWS, Interval, number, percentile, resample, wilson

Array = NDArray[np.float64]
BINS = 15
"""As in the paper."""


@dataclass(frozen=True)
class Bin:
    """Answers with a confidence in (low, high]; shares are 0..1."""

    low: float
    high: float
    n: int
    confidence: float
    """Mean confidence."""
    right: float
    """Share right."""
    interval: Interval | None
    """Wilson's, answers taken as independent: frames of one event are not, so it is the narrowest honest one."""


def softmax(similarities: Array, temperature: float) -> Array:
    """(N, C) class probabilities of similarities (N, C)."""
    scaled = similarities / temperature
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def bins(confidence: Array, right: Array, count: int = BINS) -> list[Bin]:
    """The bins that hold an answer, from the least sure on.

    `confidence` (n,) 0..1 of the answer given, `right` (n,) 0 or 1. Raises ValueError for none, or one not finite.
    """
    own, found = _bin(confidence, count), []
    for one in np.unique(own):
        held = own == one
        n, sure, share = int(held.sum()), float(confidence[held].mean()), float(right[held].mean())
        bounds = wilson(int(right[held].sum()), n)
        found.append(Bin(one / count, (one + 1) / count, n, sure, share, bounds))
    return found


def ece(confidence: Array, right: Array, count: int = BINS) -> float:
    """Mean over answers of the gap |share right - mean confidence| of their bin, 0..1; 0 = calibrated."""
    gaps = np.bincount(_bin(confidence, count), right - confidence, count)
    return float(np.abs(gaps).sum() / len(confidence))


def ece_interval(
    confidence: Array,
    right: Array,
    groups: Sequence[Hashable] | NDArray,
    count: int = BINS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """Bootstrap of `ece` over groups (n,). A resample's ECE lies above the sample's by its own noise; that mean excess
    is taken off, not below 0. None for one group."""
    numbers = number(groups)
    every = int(numbers.max()) + 1
    cell = numbers * count + _bin(confidence, count)
    gaps = np.bincount(cell, right - confidence, every * count).reshape(every, count)
    weights = resample(every, draws, seed)
    drawn = np.abs(weights @ gaps).sum(1) / (weights @ np.bincount(numbers))
    excess = max(0.0, float(drawn.mean()) - ece(confidence, right, count))
    return percentile(np.maximum(drawn - excess, 0)) if every > 1 else None


def ece_floor(confidence: Array, count: int = BINS, draws: int = 200, seed: int = 0) -> float:
    """ECE that a perfectly calibrated model with these confidences (n,) would show on as many independent images: what
    is left of it by the accident of the sample."""
    generator = np.random.default_rng(seed)
    drawn = (generator.random(len(confidence)) < confidence for _ in range(draws))
    return float(np.mean([ece(confidence, right.astype(np.float64), count) for right in drawn]))


def best_temperature(similarities: Array, truth: NDArray[np.int64]) -> float:
    """Temperature scaling: the one of 128 temperatures from 0.001 to 10 (geometric) with the highest likelihood of the
    true classes (n,) under `softmax(similarities)` (n, C); to be fitted on validation data."""
    grid = np.geomspace(0.001, 10, 128)
    rows = np.arange(len(truth))
    return float(min(grid, key=lambda value: _surprise(similarities / value, rows, truth)))


def _surprise(logits: Array, rows: NDArray, truth: NDArray) -> float:
    """Mean negative log likelihood, without dividing by powers that vanish."""
    top = logits.max(1)
    return float((top + np.log(np.exp(logits - top[:, None]).sum(1)) - logits[rows, truth]).mean())


def _bin(confidence: Array, count: int) -> NDArray[np.int64]:
    """(n,) number of the bin (low, high] that holds each confidence."""
    if len(confidence) == 0 or not math.isfinite(float(confidence.sum())):
        raise ValueError("confidences must be finite, and there must be some")
    return np.clip(np.ceil(confidence * count).astype(np.int64) - 1, 0, count - 1)
