"""The rows and pictures that a report's sections hold: plain data, escaped by the page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmodal.metrics.figure import Figure
from xmodal.metrics.intervals import Interval


@dataclass(frozen=True)
class Picture:
    """An image to be shown as a thumbnail."""

    jpeg: bytes
    alt: str
    """What a reader who cannot see it is told."""
    width: int | None = None
    """Pixels of the original (after the EXIF turn), to undo a squashed resize; None = as stored."""
    height: int | None = None


@dataclass(frozen=True)
class SurveyRow:
    name: str
    source: str
    """Format, e.g. "Camtrap DP"."""
    files: int
    """Files listed in the archive."""
    images: int
    """Images taken."""


@dataclass(frozen=True)
class LedgerRow:
    status: str
    reason: str
    """Empty for files that were taken."""
    count: int


@dataclass(frozen=True)
class SplitRow:
    split: str
    images: int
    places: int | None = None
    species: int | None = None


@dataclass(frozen=True)
class Answer:
    text: str
    right: bool
    score: float


@dataclass(frozen=True)
class ImageExample:
    """An image and the texts that the model found for it, the best first."""

    picture: Picture
    truth: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class ImageAnswer:
    picture: Picture
    truth: str
    right: bool


@dataclass(frozen=True)
class TextExample:
    """A text and the images that the model found for it, the best first."""

    text: str
    answers: Sequence[ImageAnswer]
    right_in_gallery: int


@dataclass(frozen=True)
class PlaceRow:
    place: str
    """Its id."""
    seen: bool
    """True = other images of this place were trained on."""
    n: int
    share: float
    """Images right, 0..1."""
    interval: Interval | None


@dataclass(frozen=True)
class NewSpeciesRow:
    """A species that no training image shows. Shares are 0..1."""

    name: str
    n: int
    right: float
    interval: Interval | None
    """Places resampled."""
    usual: str
    """The species that the model calls it most often."""


@dataclass(frozen=True)
class BesideRow:
    """A species or a place, by the model and by what was there before. Shares are 0..1."""

    name: str
    n: int
    model: float
    incumbent: float
    interval: Interval | None
    """Of model - incumbent, places resampled; None at one place."""
    trained: bool = True
    """Whether the model was trained on a species that is asked for here."""

    @property
    def ahead(self) -> str:
        """Who is: model | incumbent | neither, by the shares alone."""
        return "neither" if self.model == self.incumbent else "model" if self.model > self.incumbent else "incumbent"


@dataclass(frozen=True)
class Sides:
    """One measure at places that no training image comes from, beside places that some come from."""

    label: str
    unseen: Figure
    seen: Figure
    apart: Figure | None = None
    """Seen minus unseen; None where it is not asked for."""

    @property
    def figures(self) -> list[Figure]:
        return [figure for figure in (self.unseen, self.seen, self.apart) if figure]


@dataclass(frozen=True)
class FigureGroup:
    title: str
    figures: Sequence[Figure]
    note: str = ""
    missing: Sequence[str] = ()
    """What could not be measured here, each with its reason."""


@dataclass(frozen=True)
class Pair:
    """One measure of the model and of what was there before, on the same frames."""

    label: str
    incumbent: Figure
    model: Figure | None = None
    """None where the model gives no such answer."""
    ahead: Figure | None = None
    """Model minus incumbent, paired; None where it is not asked for."""
    better: float | None = None
    """Share of the resamples in which the model is better, 0..1; None without an interval."""

    @property
    def figures(self) -> list[Figure]:
        return [figure for figure in (self.model, self.incumbent, self.ahead) if figure]


@dataclass(frozen=True)
class Incumbent:
    """One machine that the archive had before, beside the model on the same frames."""

    who: str
    what: str
    """What both do, e.g. "naming the species"."""
    title: str
    ahead: Figure | None
    """Model minus incumbent; None where the model gives no such answer."""
    pairs: Sequence[Pair]
    note: str = ""
    species: Sequence[BesideRow] = ()
    """Where the incumbent is furthest ahead first."""
    places: Sequence[BesideRow] = ()
    least: int = 0
    """Frames from which on a species or a place has a row."""


@dataclass(frozen=True)
class CaptionExample:
    picture: Picture
    generated: str
    references: Sequence[str]


@dataclass(frozen=True)
class Heat:
    """Where the words for an animal look in an image."""

    picture: Picture
    weights: NDArray[np.float64]
    """(rows, columns) of the patches, all together at most 1."""
    boxes: NDArray[np.float64]
    """(n, 4) x, y, width, height of the animals, relative to the stored image."""
    mass: float
    """Share of the attention inside the boxes, 0..1."""
    chance: float
    """Share of the patches inside the boxes, 0..1."""
