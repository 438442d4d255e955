"""Attention precision, recall and F1 (the names are Chen et al.'s, WACV 2023; the formulas a documented reading).

For a word i of a matched pair with weights w_ij over keys j, of which Y lie in its boxes, and A = {j : w_ij >= cut}:

    P = |A & Y| / |A|,    R = |A & Y| / |Y|,    F1 = 2 P R / (P + R)

and, without any cut, mass = sum_Y w / sum w, AP = area under the P-R curve over all cuts, and chance = |Y| / m, the
precision of uniform attention. Words are averaged within their image, then images. What cannot be judged (no detector
ran, no box, no word) is counted and never scored 0: blank frames would dominate.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
MEASURES: tuple[str, ...] = ("precision", "recall", "f1", "mass", "chance", "ap", "empty")
SLACK = 1e-12
Cut = Callable[[Array], Array]
"""(Q, m) weights over valid keys -> (Q, 1) the least weight that counts as attended."""


def cut(mode: Literal["absolute", "uniform", "max"], t: float) -> Cut:
    """absolute: t. uniform: t / m, for t = 1 "above uniform". max: t times the row's largest."""
    modes: dict[str, Cut] = {
        "absolute": lambda w: np.full((len(w), 1), t),
        "uniform": lambda w: np.full((len(w), 1), t / w.shape[1]),
        "max": lambda w: t * w.max(1, keepdims=True),
    }
    return modes[mode]


ABOVE_UNIFORM = cut("uniform", 1.0)
SWEEP = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
"""Values of t for a curve over `uniform` cuts; the best is chosen on validation data and applied to test data."""


def word_scores(weights: Array, relevant: Mask, valid: Mask, at: Cut = ABOVE_UNIFORM) -> dict[str, Array]:
    """Every measure as (Q,), NaN for a word that cannot be judged: no weight at all, or no key in its boxes.

    `weights` and `relevant` are (Q, m), `valid` (m,) the keys that are real. A word that attends to nothing at this cut
    has P = R = F1 = 0. Raises ValueError for weights that are not finite.
    """
    w, y = np.asarray(weights, np.float64)[:, valid], np.asarray(relevant, bool)[:, valid]
    if not np.isfinite(w).all():
        raise ValueError("attention weights are not finite: the model gave NaN or infinity")
    attended = w >= at(w) - SLACK if w.shape[1] else w > 0
    hit, total, right = (attended & y).sum(1), attended.sum(1), y.sum(1)
    precision, recall = hit / np.maximum(total, 1), hit / np.maximum(right, 1)
    both = precision + recall
    found = {
        "precision": precision,
        "recall": recall,
        "f1": np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0),
        "mass": (w * y).sum(1) / np.maximum(w.sum(1), 1e-300),
        "chance": right / max(w.shape[1], 1),
        "ap": np.array([average_precision(row, own) for row, own in zip(w, y, strict=True)]),
        "empty": (total == 0).astype(np.float64),
    }
    judged = (w.sum(1) > 0) & (right > 0)
    return {name: np.where(judged, values, np.nan) for name, values in found.items()}


def average_precision(weights: Array, relevant: Mask) -> float:
    """Area under the precision-recall curve over all cuts of (m,) weights; equal weights are cut together. 0 where
    nothing is relevant."""
    if not relevant.any():
        return 0.0
    order = np.argsort(-weights, kind="stable")
    hits = np.cumsum(relevant[order])
    last = np.append(np.flatnonzero(np.diff(weights[order])), len(order) - 1)
    gained = np.diff(np.append(0, hits[last]))
    return float((gained * hits[last] / (last + 1)).sum() / hits[-1])


@dataclass(frozen=True)
class Tally:
    """Sums over images and counts of everything: two of them add up to that of all their images."""

    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MEASURES, 0.0))
    """Of image means."""
    images: int = 0
    """Images with a word that was judged."""
    queries: int = 0
    """Words judged."""
    skipped: int = 0
    """Words that could not be: no weight, or no key in their boxes."""
    unknown: int = 0
    """Images that no detector has looked at."""
    no_box: int = 0
    """Images in which it found nothing."""
    no_word: int = 0
    """Images with boxes, whose caption names nothing of them."""

    def __add__(self, other: "Tally") -> "Tally":
        sums = {name: self.sums[name] + other.sums[name] for name in MEASURES}
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "sums"}
        return Tally(sums, **counts)

    def means(self) -> dict[str, float]:
        """Macro means over images, and F1 of the mean precision and recall; NaN where no image was judged."""
        found = {name: total / self.images if self.images else float("nan") for name, total in self.sums.items()}
        both = found["precision"] + found["recall"]
        found["f1_of_means"] = 2 * found["precision"] * found["recall"] / both if both else 0.0
        return found


def judged(scores: dict[str, Array]) -> tuple[Tally, dict[str, float]]:
    """An image's words as a Tally, and its means (NaN without a judged word), from which intervals are drawn: by
    `intervals.mean(values, classes=sequences)` a burst counts once."""
    kept = ~np.isnan(scores["precision"])
    if not kept.any():
        return Tally(skipped=len(kept)), dict.fromkeys(MEASURES, float("nan"))
    means = {name: float(values[kept].mean()) for name, values in scores.items()}
    return Tally(means, images=1, queries=int(kept.sum()), skipped=int((~kept).sum())), means


def image_tally(
    weights: Array, relevant: Mask, valid: Mask, boxes: int | None, at: Cut = ABOVE_UNIFORM
) -> tuple[Tally, dict[str, float]]:
    """One image's Tally and means. `boxes` is how many there are, None where no detector ran; no row of `weights` =
    the caption has no word for them."""
    nothing = dict.fromkeys(MEASURES, float("nan"))
    if boxes is None:
        return Tally(unknown=1), nothing
    if boxes == 0:
        return Tally(no_box=1), nothing
    if len(weights) == 0:
        return Tally(no_word=1), nothing
    return judged(word_scores(weights, relevant, valid, at))


def normalised_entropy(weights: Array, valid: Mask) -> Array:
    """(Q,) entropy over log m of (Q, m) weights: all that can be said of a blank image's attention. NaN for rows
    without weight; 0 for a single key."""
    w = np.asarray(weights, np.float64)[:, valid]
    total = w.sum(1, keepdims=True)
    p = w / np.where(total > 0, total, np.nan)
    nats = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
    return nats / np.log(max(w.shape[1], 2))


def word_attention(weights: Array, words: list[list[int]], cls: bool) -> tuple[Array, Array]:
    """(heads, L, m) weights -> (Q, m') of Q words, and (Q,) the share that went to [CLS].

    Mean over heads; where `cls` says that key 0 is a class token, it is dropped and the rest made to sum to 1; mean of
    a word's tokens. A word of which a token lies beyond L was cut off, and is left out.
    """
    mean = np.asarray(weights, np.float64).mean(0)
    share = mean[:, :1] if cls else np.zeros((len(mean), 1))
    patches = mean[:, int(cls) :]
    rest = patches.sum(1, keepdims=True)
    patches = np.divide(patches, rest, out=np.zeros_like(patches), where=rest > 0)
    whole = [tokens for tokens in words if tokens and max(tokens) < len(mean)]
    rows = [patches[tokens].mean(0) for tokens in whole]
    return np.array(rows).reshape(len(whole), patches.shape[1]), np.array([share[one].mean() for one in whole])
