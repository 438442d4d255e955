"""Which answer is given: the narrowest rank that is sure enough, by thresholds found on validation images.

A frame that is more likely empty than not can be called blank alone; any other is asked for its species, then genus,
and so on up to `animal`. The threshold of a rank is found on those images that no narrower rank answers, so that the
share right holds among the answers of each rank by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.predictions.ladder import ANIMAL, BLANK, FINDINGS, Array, Ladder
from xmodal.metrics.classification import RANKS
from xmodal.metrics.selective import least_confidence

PEOPLE = len(FINDINGS)
"""Code of the answer that is left to people."""
Thresholds = Mapping[str, float | None]
"""Finding to the confidence that it needs; None where none is enough."""


@dataclass(frozen=True)
class Truth:
    """What is recorded of a frame or event."""

    kind: str
    """animal | blank."""
    steps: Mapping[str, str]
    """Rank to name, as far as it is named."""


@dataclass(frozen=True)
class Decided:
    """(N,) each: the finding (its position in FINDINGS, PEOPLE for none), the taxon's position in the ladder's names of
    that rank, and how sure it is. Where it is left to people they are those of the surest species."""

    finding: NDArray[np.int64]
    taxon: NDArray[np.int64]
    confidence: Array


def decide(ladder: Ladder, probabilities: Array, needed: Thresholds) -> Decided:
    """The answers to `probabilities` (N, C + 1)."""
    taxon, confidence = ladder.best(probabilities, "species")
    found = Decided(np.full(len(taxon), PEOPLE), taxon.copy(), confidence.copy())
    for name in FINDINGS:
        open_rows = _asked(found, probabilities, name)
        threshold = needed.get(name)
        if threshold is not None:
            _answer(ladder, probabilities, found, name, open_rows, threshold)
    return found


def _asked(found: Decided, probabilities: Array, name: str) -> NDArray[np.bool_]:
    """Rows without an answer that may get one of this name."""
    empty = probabilities[:, -1] > 0.5
    return (found.finding == PEOPLE) & (empty if name == BLANK else ~empty)


def _answer(
    ladder: Ladder, probabilities: Array, found: Decided, name: str, rows: NDArray[np.bool_], threshold: float
) -> None:
    taxon, confidence = ladder.best(probabilities, name)
    given = rows & (confidence >= threshold)
    found.finding[given] = FINDINGS.index(name)
    found.taxon[given], found.confidence[given] = taxon[given], confidence[given]


def thresholds(ladder: Ladder, probabilities: Array, truth: Sequence[Truth], wanted: float) -> dict[str, float | None]:
    """The least confidence of each finding with which at least `wanted` of its answers are right."""
    needed: dict[str, float | None] = {}
    for name in FINDINGS:
        rows = np.flatnonzero(_asked(decide(ladder, probabilities, needed), probabilities, name))
        taxon, confidence = ladder.best(probabilities[rows], name)
        sure = np.flatnonzero(confidence > 0)  # no species has a name at a rank of which nothing is sure
        right = np.array([right_at(ladder, name, int(taxon[n]), truth[int(rows[n])]) for n in sure], np.float64)
        needed[name] = least_confidence(confidence[sure], right, wanted)
    if not ladder.blank:
        needed[ANIMAL] = None  # without a word for empty frames it cannot tell that something is there
    return needed


def right_at(ladder: Ladder, name: str, position: int, truth: Truth) -> float:
    """`right_named` of the taxon at a position of the ladder's names."""
    return right_named(ladder, name, ladder.name(name, position), truth)


def right_named(ladder: Ladder, name: str, said: str, truth: Truth) -> float:
    """Whether the finding `name` with the taxon `said` is right: 1 or 0; NaN where the record is too coarse to say."""
    if name in (ANIMAL, BLANK) or truth.kind == BLANK:
        return float(name == truth.kind)
    if name in truth.steps:
        return float(said == truth.steps[name])
    above = ladder.lineage(name, said)
    apart = any(rank in above and above[rank] != own for rank, own in truth.steps.items() if rank in RANKS)
    return 0.0 if apart else np.nan


def rights(ladder: Ladder, found: Decided, truth: Sequence[Truth]) -> Array:
    """(N,) `right_at` of the answers given; NaN where it was left to people."""
    rows = zip(found.finding.tolist(), found.taxon.tolist(), truth, strict=True)
    return np.array([np.nan if at == PEOPLE else right_at(ladder, FINDINGS[at], taxon, own) for at, taxon, own in rows])
