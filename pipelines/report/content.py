"""A whole report as plain data: the first screen, and the sections in the order in which they are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from pipelines.report.rows import (
    Answer,
    BesideRow,
    CaptionExample,
    FigureGroup,
    Heat,
    ImageAnswer,
    ImageExample,
    Incumbent,
    LedgerRow,
    NewSpeciesRow,
    Pair,
    Picture,
    PlaceRow,
    Sides,
    SplitRow,
    SurveyRow,
    TextExample,
)
from pipelines.report.sections import (
    About,
    Attention,
    Captions,
    Confusion,
    Curves,
    Data,
    Examples,
    Map,
    Measures,
    Places,
    Section,
    Species,
)
from pipelines.report.survey_sections import Conditions, Confidence, Events, Incumbents, Review
from xmodal.metrics.figure import Figure

__all__ = [
    "About",
    "Answer",
    "Attention",
    "BesideRow",
    "CaptionExample",
    "Captions",
    "Conditions",
    "Confidence",
    "Confusion",
    "Curves",
    "Data",
    "Events",
    "Examples",
    "FigureGroup",
    "Heat",
    "ImageAnswer",
    "ImageExample",
    "Incumbent",
    "Incumbents",
    "LedgerRow",
    "Map",
    "Measures",
    "NewSpeciesRow",
    "PageContent",
    "Pair",
    "Picture",
    "PlaceRow",
    "Places",
    "ReportContent",
    "Review",
    "Section",
    "Sides",
    "Species",
    "SplitRow",
    "SurveyRow",
    "TextExample",
]


class PageContent(Protocol):
    """What any page of ours is laid out from: a first screen, then sections in their order."""

    kicker: ClassVar[str]
    """What kind of page it is."""
    cards: ClassVar[str]
    """Template of the few figures of the first screen."""

    @property
    def title(self) -> str: ...
    @property
    def subtitle(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def generated(self) -> bool: ...
    @property
    def sections(self) -> Sequence[Section]: ...


@dataclass(frozen=True)
class ReportContent:
    """A whole report. Sections without data stay at their defaults and are left out."""

    kicker: ClassVar[str] = "Evaluation report"
    cards: ClassVar[str] = "headline.html.j2"

    title: str
    verdict: str
    """One sentence, see `verdict.sentence`."""
    headline: Sequence[Figure]
    """At most four."""
    subtitle: str = ""
    generated: bool = False
    """True = the images were generated: a banner says that the figures say nothing about nature."""
    data: Data = field(default_factory=Data)
    species: Species = field(default_factory=Species)
    incumbents: Incumbents = field(default_factory=Incumbents)
    events: Events = field(default_factory=Events)
    examples: Examples = field(default_factory=Examples)
    places: Places = field(default_factory=Places)
    conditions: Conditions = field(default_factory=Conditions)
    confidence: Confidence = field(default_factory=Confidence)
    review: Review = field(default_factory=Review)
    measures: Measures = field(default_factory=Measures)
    confusion: Confusion = field(default_factory=Confusion)
    captions: Captions = field(default_factory=Captions)
    attention: Attention = field(default_factory=Attention)
    curves: Curves = field(default_factory=Curves)
    map: Map = field(default_factory=Map)
    about: About = field(default_factory=About)

    @property
    def sections(self) -> list[Section]:
        """What there is to say, in the order in which it is read."""
        answers = [self.data, self.species, self.incumbents, self.events, self.examples, self.places, self.conditions]
        answers += [self.confidence, self.review, self.measures, self.confusion]
        rest = (self.captions, self.attention, self.curves, self.map, self.about)
        return [part for part in (*answers, *rest) if part]
