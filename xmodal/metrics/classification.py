"""Species accuracy: of images, of classes, of the ranks above them; and who is taken for whom.

Labels are texts. One value an image comes back (1 right, 0 wrong, NaN not asked), so that intervals can resample
places. A record names a taxon at its true rank: a frame labelled with a family asks for the family and above,
never for the species.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmodal.metrics.intervals import Interval, mean_interval

Array = NDArray[np.float64]
Lineages = Mapping[str, Mapping[str, str]]
"""label -> {rank: name}, its own rank included. A label that names no taxon ("blank") has no ranks."""

RANKS = ("species", "genus", "family", "order", "class")
"""From the narrowest to the widest."""


def hits(truth: Sequence[str], predicted: Sequence[str]) -> Array:
    """(n,) 1 where the label is right. `mean(hits)` is micro, `mean(hits, classes=truth)` macro accuracy."""
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} true and {len(predicted)} predicted labels: they must pair up")
    return np.array([a == b for a, b in zip(truth, predicted, strict=True)], dtype=np.float64)


def rank_hits(truth: Sequence[str], predicted: Sequence[str], lineages: Lineages, rank: str) -> Array:
    """(n,) 1 where the prediction lies in the true taxon's `rank`; NaN where the truth has no name at that rank."""
    names = [lineages.get(label, {}).get(rank) for label in truth]
    guesses = [lineages.get(label, {}).get(rank) for label in predicted]
    return np.array([np.nan if a is None else float(a == b) for a, b in zip(names, guesses, strict=True)])


def rank_chance(truth: Sequence[str], candidates: Sequence[str], lineages: Lineages, rank: str) -> Array:
    """(n,) what `rank_hits` gives on average when each candidate label is as likely to be named."""
    names = [lineages.get(label, {}).get(rank) for label in candidates]
    shares = {name: count / len(names) for name, count in Counter(names).items()}
    asked = [lineages.get(label, {}).get(rank) for label in truth]
    return np.array([np.nan if name is None else shares.get(name, 0.0) for name in asked])


def confusion(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """(C, C) counts: row the true, column the predicted class. Raises ValueError for a label outside `classes`."""
    position = {label: index for index, label in enumerate(classes)}
    unknown = sorted({*truth, *predicted} - position.keys())
    if unknown:
        raise ValueError(f"label {unknown[0]!r} is none of the {len(classes)} classes")
    cells = [position[a] * len(classes) + position[b] for a, b in zip(truth, predicted, strict=True)]
    counts = np.bincount(np.array(cells, dtype=np.int64), minlength=len(classes) ** 2)
    return counts.reshape(len(classes), len(classes))


@dataclass(frozen=True)
class ClassRow:
    """One class of a confusion matrix. Shares are 0..1; None where nothing is there to count."""

    name: str
    n: int
    """Images that are of this class."""
    predicted: int
    """Images that were given this class."""
    right: int
    recall: float | None
    recall_interval: Interval | None
    """Groups (places) resampled; None where they are one."""
    precision: float | None
    precision_interval: Interval | None


def per_class(
    truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str], groups: Sequence[str]
) -> list[ClassRow]:
    """One row a class, in the given order; `groups` (n,) is what is resampled."""
    right, where = hits(truth, predicted), np.asarray(groups, dtype=object)
    shown, named = (_rows_of(labels) for labels in (truth, predicted))
    none = np.zeros(0, np.int64)
    return [_row(name, right, where, shown.get(name, none), named.get(name, none)) for name in classes]


def _rows_of(labels: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for n, label in enumerate(labels):
        rows[label].append(n)
    return {label: np.array(own, np.int64) for label, own in rows.items()}


def _row(name: str, right: Array, groups: NDArray, shown: NDArray[np.int64], named: NDArray[np.int64]) -> ClassRow:
    (recall, around), (precision, about) = (
        (float(right[own].mean()) if len(own) else None, mean_interval(right[own], groups[own]))
        for own in (shown, named)
    )
    return ClassRow(name, len(shown), len(named), int(right[shown].sum()), recall, around, precision, about)
