"""The sections of the survey protocol, like those in `sections`: what the species answers are worth in the field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipelines.evaluate.settings import SECONDS
from pipelines.predictions.budget import expected, measured
from pipelines.predictions.trust import WANTED, Measured, MeasuredSpecies, Trust
from pipelines.report.rows import FigureGroup, Incumbent, NewSpeciesRow
from pipelines.report.sections import Section
from xmodal.metrics.calibration import Bin
from xmodal.metrics.figure import Figure


@dataclass(frozen=True)
class Incumbents(Section):
    """Better than what was there before, by how much, and where not?"""

    anchor: ClassVar[str] = "incumbents"
    title: ClassVar[str] = "Beside what you have"
    lead: ClassVar[str] = (
        "Machine labels that came with the archive, on the same frames as the model. Differences are paired: what both "
        "find hard cancels out. Frames that a machine alone labelled are left out."
    )

    parts: Sequence[Incumbent] = ()

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def figures(self) -> list[Figure]:
        return [figure for part in self.parts for pair in part.pairs for figure in pair.figures]


@dataclass(frozen=True)
class Events(Section):
    """What the frames of a burst say together."""

    anchor: ClassVar[str] = "events"
    title: ClassVar[str] = "Events"
    lead: ClassVar[str] = (
        "A camera takes several frames of one visit. Here a visit gets one answer: from its surest frame, or from the "
        "mean of all its frames. F1 weighs missed animals and wrong names alike."
    )

    groups: Sequence[FigureGroup] = ()
    note: str = ""
    """Why there is no group."""

    def __bool__(self) -> bool:
        return bool(self.groups or self.note)

    @property
    def figures(self) -> list[Figure]:
        return [figure for group in self.groups for figure in group.figures]


@dataclass(frozen=True)
class Conditions(Section):
    """By day and by night, on empty frames, and on species that nobody has shown it."""

    anchor: ClassVar[str] = "conditions"
    title: ClassVar[str] = "Night, blanks, new species"
    lead: ClassVar[str] = "Where a mean over everything hides what a survey meets."

    groups: Sequence[FigureGroup] = ()
    """A group without figures says why in its note."""
    new_species: Sequence[NewSpeciesRow] = ()
    most: int = 20
    """New species with a row on the page."""

    def __bool__(self) -> bool:
        return bool(self.groups)

    @property
    def figures(self) -> list[Figure]:
        return [figure for group in self.groups for figure in group.figures]


@dataclass(frozen=True)
class Confidence(Section):
    """Whether its confidence can be believed."""

    anchor: ClassVar[str] = "confidence"
    title: ClassVar[str] = "Confidence"
    lead: ClassVar[str] = (
        "Of the answers given with 80 % confidence, 80 % should be right. The calibration error is the mean gap "
        "between the two."
    )

    figures: Sequence[Figure] = ()
    bins: Sequence[Bin] = ()
    sure: float = 0.0
    """Mean confidence, 0..1."""
    right: float = 0.0
    """Share right, 0..1."""
    trust: Trust | None = None
    """What `predict` needs to know of it; None where no validation image tells."""

    def __bool__(self) -> bool:
        return bool(self.bins)


@dataclass(frozen=True)
class Review(Section):
    """How much is left to people."""

    anchor: ClassVar[str] = "review"
    title: ClassVar[str] = "What is left to people"
    lead: ClassVar[str] = (
        "Answers that are sure enough can be accepted without a look; the others are for people. Measured on test "
        "frames at places that training has not seen, as if nobody had labelled them."
    )

    tested: Measured | None = None
    figures: Sequence[Figure] = ()
    at_hand: int = 0
    """Frames of the dataset version that people have not labelled."""
    seconds: float = SECONDS
    """A look takes so many, by assumption."""
    most: int = 80
    """Species whose rows are drawn."""

    def __bool__(self) -> bool:
        return self.tested is not None

    @property
    def finding(self) -> str:
        """All of it in two sentences; empty without a test."""
        if self.tested is None:
            return ""
        frames = self.at_hand or 1000
        of = f"Of the {frames:,} images of this version that nobody has labelled" if self.at_hand else "Of 1,000 frames"
        first = measured(self.tested, str(WANTED))
        return f"{first[0].upper()}{first[1:]}. {of} {expected(self.tested, frames, self.seconds)}, which is assumed."

    @property
    def species(self) -> list[tuple[str, MeasuredSpecies]]:
        """The most frequent first."""
        every = self.tested.species.items() if self.tested else ()
        return sorted(every, key=lambda one: (-(one[1].answered.n if one[1].answered else 0), one[0]))[: self.most]
