"""The sections of a report, in reading order: each holds its data and knows whether it has anything to say.

Figures carry their own chance level and interval (`xmodal.metrics.Figure`, percent 0..100). Places are ids, never
names or coordinates (docs/splits.md says what these hide). Every text may come from an archive: the page escapes all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipelines.licences import is_non_commercial
from pipelines.report.rows import (
    CaptionExample,
    FigureGroup,
    Heat,
    ImageExample,
    LedgerRow,
    PlaceRow,
    Sides,
    SplitRow,
    SurveyRow,
    TextExample,
)
from xmodal.metrics.classification import ClassRow
from xmodal.metrics.figure import Figure

FEW = 20
"""Below this many test images a species' figures are shown in grey and marked."""


class Section:
    """One part of the page, laid out by its own template. False = nothing to say, so it is left out."""

    anchor: ClassVar[str]
    title: ClassVar[str]
    lead: ClassVar[str] = ""

    @property
    def template(self) -> str:
        """Name of the template, below this folder or `pipelines/`."""
        return f"{self.anchor}.html.j2"

    def __bool__(self) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class Data(Section):
    """Where the images come from, what became of every file, and how they were split."""

    anchor: ClassVar[str] = "data"
    title: ClassVar[str] = "Data"
    lead: ClassVar[str] = "Every file that is listed, or named by metadata, is accounted for: why it was not used."

    dataset: str = ""
    """Name, version and digest."""
    surveys: Sequence[SurveyRow] = ()
    ledger: Sequence[LedgerRow] = ()
    licences: Mapping[str, int] = field(default_factory=dict)
    """Licence -> images."""
    splits: Sequence[SplitRow] = ()

    def __bool__(self) -> bool:
        return bool(self.surveys or self.ledger or self.splits)

    @property
    def files(self) -> int:
        return sum(row.count for row in self.ledger)

    @property
    def non_commercial(self) -> Mapping[str, int]:
        """Those of `licences` that forbid commercial use."""
        return {name: images for name, images in self.licences.items() if is_non_commercial(name)}


@dataclass(frozen=True)
class Species(Section):
    """Which species can be trusted."""

    anchor: ClassVar[str] = "species"
    title: ClassVar[str] = "Species"
    lead: ClassVar[str] = (
        "Recall: of the images that show a species, how many the model names so. "
        "Precision: of the images given that name, how many show it."
    )

    rows: Sequence[ClassRow] = ()
    figures: Sequence[Figure] = ()
    """Accuracy over all images, over species, per rank, and of the baselines."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Scientific name -> common name."""
    note: str = ""
    """What is asked, and what is not."""
    few: int = FEW
    most: int = 80
    """Species whose rows are drawn; the rarer ones stand in a table that opens."""

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def tested(self) -> list[ClassRow]:
        """Species with test images, the most frequent first."""
        return sorted((row for row in self.rows if row.n), key=lambda row: (-row.n, row.name))

    @property
    def rarer(self) -> list[ClassRow]:
        """Those of `tested` beyond the `most` frequent."""
        return self.tested[self.most :]

    @property
    def untested(self) -> list[ClassRow]:
        return [row for row in self.rows if not row.n]


@dataclass(frozen=True)
class Examples(Section):
    """What right and wrong look like, drawn by seed and not by hand."""

    anchor: ClassVar[str] = "examples"
    title: ClassVar[str] = "Right and wrong"

    texts: Sequence[TextExample] = ()
    images: Sequence[ImageExample] = ()
    seed: int = 0

    def __bool__(self) -> bool:
        return bool(self.texts or self.images)

    @property
    def lead(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"Drawn at random with seed {self.seed}, not chosen: each query with its best answers, right or wrong."


@dataclass(frozen=True)
class Places(Section):
    """Does it hold where no camera has stood before?"""

    anchor: ClassVar[str] = "places"
    title: ClassVar[str] = "Places"
    lead: ClassVar[str] = (
        "A model can learn the background instead of the animal. At seen places it has to beat a lookup that knows "
        "only which species is most frequent there; unseen places show what to expect at a new camera."
    )

    figures: Sequence[Figure] = ()
    rows: Sequence[PlaceRow] = ()
    sides: Sequence[Sides] = ()
    """Unseen beside seen places, where the dataset tests both."""
    worst_count: int = 5
    least_images: int = 5
    note: str = ""
    """Which kind of place is not measured, and why."""

    def __bool__(self) -> bool:
        return bool(self.figures or self.rows)

    @property
    def every_figure(self) -> list[Figure]:
        return [*self.figures, *(figure for row in self.sides for figure in row.figures)]

    @property
    def worst(self) -> list[PlaceRow]:
        """The places with the smallest share right, of those with enough images to say so."""
        known = [row for row in self.rows if row.n >= self.least_images]
        return sorted(known, key=lambda row: (row.share, -row.n, row.place))[: self.worst_count]


@dataclass(frozen=True)
class Measures(Section):
    """All figures: retrieval, captions, the shared space."""

    anchor: ClassVar[str] = "measures"
    title: ClassVar[str] = "Search and space"
    lead: ClassVar[str] = "Equal scores count as a random order among them, so a model that cannot tell gets chance."

    groups: Sequence[FigureGroup] = ()

    def __bool__(self) -> bool:
        return any(group.figures for group in self.groups)


@dataclass(frozen=True)
class Confusion(Section):
    """Which species is taken for which: counts (C, C), row the true, column the named species."""

    anchor: ClassVar[str] = "confusion"
    title: ClassVar[str] = "Mistaken for"
    lead: ClassVar[str] = "Rows are what the image shows, columns what the model says; shades are shares of a row."

    classes: Sequence[str] = ()
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    most: int = 14
    """Species drawn by name; the rarer ones are one row and one column."""

    def __bool__(self) -> bool:
        return bool(self.counts.sum())

    @property
    def mistakes(self) -> list[tuple[str, str, int, int]]:
        """(shown, said, images, images that show it), the most frequent first."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = [divmod(int(cell), len(self.classes)) for cell in np.argsort(-wrong, axis=None, kind="stable")]
        totals = self.counts.sum(1)
        pairs = [(a, b) for a, b in order[:20] if wrong[a, b]]
        return [(self.classes[a], self.classes[b], int(wrong[a, b]), int(totals[a])) for a, b in pairs]

    @property
    def drawn(self) -> tuple[list[str], NDArray[np.int64]]:
        """Names and counts with all but the `most` frequent species put together, and never-seen ones left out."""
        order = np.argsort(-self.counts.sum(1), kind="stable")
        named, rest = order[: self.most], order[self.most :]
        folded = np.zeros((len(named) + 1, len(named) + 1), np.int64)
        slot = np.full(len(order), len(named))
        slot[named] = np.arange(len(named))
        np.add.at(folded, (slot[:, None], slot[None]), self.counts)
        names = [*(self.classes[i] for i in named), f"{len(rest)} others"]
        used = (folded.sum(0) + folded.sum(1)) > 0
        return [name for name, shown in zip(names, used, strict=True) if shown], folded[np.ix_(used, used)]


@dataclass(frozen=True)
class Captions(Section):
    """What the model writes beside what was recorded."""

    anchor: ClassVar[str] = "captions"
    title: ClassVar[str] = "Captions"
    lead: ClassVar[str] = "Written by the model without being shown any of the texts below; drawn by seed."

    examples: Sequence[CaptionExample] = ()

    def __bool__(self) -> bool:
        return bool(self.examples)


@dataclass(frozen=True)
class Attention(Section):
    """Where the words for an animal look."""

    anchor: ClassVar[str] = "attention"
    title: ClassVar[str] = "Where words look"
    lead: ClassVar[str] = (
        "The attention of the words that name the animal over the patches of the image; frames are the detector's "
        "boxes, which the model has not seen. Drawn by seed, not chosen."
    )

    heats: Sequence[Heat] = ()

    def __bool__(self) -> bool:
        return bool(self.heats)


@dataclass(frozen=True)
class Curves(Section):
    """How training went."""

    anchor: ClassVar[str] = "training"
    title: ClassVar[str] = "Training"
    lead: ClassVar[str] = "One panel a quantity, over optimizer steps."

    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]] = field(default_factory=dict)
    """Quantity -> {"train", "val" or another line's name: (step, value)}."""

    def __bool__(self) -> bool:
        return any(points for lines in self.curves.values() for points in lines.values())

    @property
    def panels(self) -> dict[str, dict[str, list[tuple[float, float]]]]:
        """The finite points of every quantity that is not zero all along."""
        return {title: lines for title, lines in self._finite.items() if not _zero(lines)}

    @property
    def zero(self) -> list[str]:
        """The quantities that are zero all along: said in a line, not drawn."""
        return [title for title, lines in self._finite.items() if _zero(lines)]

    @property
    def _finite(self) -> dict[str, dict[str, list[tuple[float, float]]]]:
        found = {
            title: {name: [point for point in points if math.isfinite(point[1])] for name, points in lines.items()}
            for title, lines in self.curves.items()
        }
        kept = {title: {name: points for name, points in lines.items() if points} for title, lines in found.items()}
        return {title: lines for title, lines in kept.items() if lines}


def _zero(lines: Mapping[str, Sequence[tuple[float, float]]]) -> bool:
    return not any(value for points in lines.values() for _, value in points)


@dataclass(frozen=True)
class Map(Section):
    """The shared space, flattened to two dimensions."""

    anchor: ClassVar[str] = "map"
    title: ClassVar[str] = "Map of the space"
    lead: ClassVar[str] = (
        "Each dot is a test image; neighbours look alike to the model. Flattening distorts: distances between clusters "
        "mean little."
    )

    points: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    """(N, 2), at most 2,000."""
    labels: Sequence[str] = ()
    most: int = 8
    """Labels that get a panel of their own."""

    def __bool__(self) -> bool:
        return len(self.points) > 0

    @property
    def drawn(self) -> list[str]:
        """The most frequent labels."""
        counts = {label: list(self.labels).count(label) for label in set(self.labels)}
        return sorted(counts, key=lambda label: (-counts[label], label))[: self.most]

    def own(self, label: str) -> NDArray[np.bool_]:
        """(N,) which points have this label."""
        return np.array([other == label for other in self.labels], dtype=bool)


@dataclass(frozen=True)
class About(Section):
    """Limits, intended use, and what it takes to do it again."""

    anchor: ClassVar[str] = "about"
    title: ClassVar[str] = "Limits and recipe"

    intended_use: Sequence[str] = ()
    limits: Sequence[str] = ()
    recipe: str = ""
    """YAML."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Dataset, checkpoint, fingerprint, commit, libraries."""

    def __bool__(self) -> bool:
        return bool(self.intended_use or self.limits or self.recipe or self.versions)
