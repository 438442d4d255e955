"""Blank frames: animals that would be lost, and empty frames that would still have to be looked at.

A frame is called blank where the texts of an empty frame fit it better than those of every species.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.species import Named
from pipelines.evaluate.subject import Subject
from pipelines.prepare.language import language
from pipelines.report.content import FigureGroup
from xmodal.metrics import baselines, tables
from xmodal.metrics.figure import Figure

MISSES = ("Animal frames called blank", "Blank frames called animal")
"""The two kinds of mistake, in the order of `misses`."""


@dataclass(frozen=True)
class Blanks:
    """The frames of a split that are recorded as showing an animal, or nothing; (n,) each."""

    images: NDArray[np.int64]
    """Positions in the gallery."""
    blank: NDArray[np.bool_]
    """Recorded blank."""
    called: NDArray[np.bool_] | None
    """Called blank by the model; None where no training image is blank, so that it cannot say so."""
    groups: list[str]
    place_only: NDArray[np.bool_]
    """Called blank by a lookup: where most training frames of the place are; at unseen places, of the training set."""

    def part(self, rows: Sequence[int]) -> "Blanks":
        """Some of the frames."""
        kept = np.array(rows, dtype=np.int64)
        called = None if self.called is None else self.called[kept]
        groups = [self.groups[n] for n in rows]
        return Blanks(self.images[kept], self.blank[kept], called, groups, self.place_only[kept])


def blanks(subject: Subject, found: Named) -> Blanks:
    """Frames of people and vehicles, and frames without a label, are not asked."""
    kinds = [_kind(subject, n) for n in range(len(subject.records))]
    images = np.array([n for n, kind in enumerate(kinds) if kind in ("animal", "blank")], dtype=np.int64)
    blank = np.array([kinds[n] == "blank" for n in images], dtype=bool)
    lookup = baselines.place_only(*subject.train_kinds, [subject.records[n]["place"] for n in images])
    known = np.array([kind == "blank" for kind in lookup], dtype=bool)
    return Blanks(images, blank, _called(subject, found, images), [subject.groups[n] for n in images], known)


def _kind(subject: Subject, image: int) -> str | None:
    fact = subject.facts[image].get("type", {})
    return None if "also" in fact else fact.get("value")


def _called(subject: Subject, found: Named, images: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    if "blank" not in subject.train_kinds[1]:
        return None
    (empty,) = subject.model.class_vectors([language(subject.language).words["blank"]])
    fits = (subject.gallery.images @ empty).double().numpy()
    return fits[images] > found.similarities[images].max(1)


def misses(prefix: str, who: str, asked: Blanks, called: NDArray[np.bool_], candidates: int | None) -> list[Figure]:
    """Both kinds of mistake of somebody who calls frames blank; `candidates` are the species that a guess could name
    instead, None where that is not known."""
    blank, animal = np.where(asked.blank, [[1.0], [np.nan]], [[np.nan], [1.0]])
    wrong, known = ((of != asked.blank).astype(np.float64) for of in (called, asked.place_only))
    guess = None if candidates is None else 1 / (candidates + 1)
    rest = None if guess is None else 1 - guess
    return [
        tables.share(f"{prefix}/animals_missed", f"{who}: {MISSES[0].lower()}", wrong * animal, guess,
                     asked.groups, None, "lower is better: these animals would be lost", known * animal),
        tables.share(f"{prefix}/blanks_kept", f"{who}: {MISSES[1].lower()}", wrong * blank, rest,
                     asked.groups, None, "lower is better: these frames would still be looked at", known * blank),
    ]  # fmt: skip


def blank_misses(subject: Subject, found: Named, asked: Blanks) -> FigureGroup:
    """The two figures, or one sentence on why there are none."""
    title, held = "Blank frames", int(asked.blank.sum())
    if not held:
        return FigureGroup(title, [], "No test image is recorded blank, so misses of blanks cannot be counted.")
    if asked.called is None:
        told = "No training image is blank, so the model has learnt no word for one and calls no frame blank"
        return FigureGroup(title, [], f"{told}; {held} test images are.")
    rows = misses(f"{subject.split}/blank", "The model", asked, asked.called, len(found.candidates))
    note = "A frame is called blank where the texts of an empty frame fit it better than those of every species."
    return FigureGroup(title, rows, note)
