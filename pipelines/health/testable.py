"""Which species the recipe's split lets one test at places that no training frame is from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.health.counting import by, taken
from pipelines.health.section import HealthSection
from pipelines.health.species import MOST_ROWS, SpeciesCount
from pipelines.prepare.assigned import SPLITS
from pipelines.report import formats

GROUPS = ((1, "1 place"), (2, "2 places"), (3, "3 to 5 places"), (6, "6 and more places"))
"""Fewest places, and what a species with as many is counted under."""


@dataclass(frozen=True)
class Verdict:
    """Why a species can or cannot be tested."""

    name: str
    meaning: str


TESTED = Verdict("tested", "trained, and tested at unseen places")
FATES = (
    TESTED,
    Verdict("one_place", "at one place only: it can be trained or tested, never both"),
    Verdict("not_in_test", "at several places, none of which this split tests"),
    Verdict("not_in_train", "only at places that do not train: a test without training (zero-shot)"),
    Verdict("seen_only", "tested, but only at places that train or are not known"),
    Verdict("unused", "in no split"),
)


def fate(one: SpeciesCount) -> Verdict:
    """The first of FATES that holds."""
    names = {verdict.name: verdict for verdict in FATES}
    if one.splits["train"] and one.unseen:
        return TESTED
    if not one.splits:
        return names["unused"]
    if len(one.places) == 1:
        return names["one_place"]
    if not one.splits["train"]:
        return names["not_in_train"]
    return names["seen_only" if one.splits["test"] else "not_in_test"]


@dataclass(frozen=True)
class SplitCount:
    """What a split would hold."""

    name: str
    images: int
    places: int
    species: int


@dataclass(frozen=True, kw_only=True)
class Testable(HealthSection):
    """Species by what the proposed split can say of them."""

    anchor: ClassVar[str] = "tests"
    title: ClassVar[str] = "What can be tested"
    lead: ClassVar[str] = (
        "The recipe’s split, as a run would make it. A species counts as testable if it is trained at some places and "
        "tested at others, from which nothing trains."
    )

    kind: str
    """Policy of the split."""
    splits: Sequence[SplitCount] = ()
    species: Sequence[SpeciesCount] = ()
    higher: int
    """Frames of animals that are named, but not to the species."""
    obstacles: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.species)

    @property
    def tested(self) -> int:
        return sum(fate(one) is TESTED for one in self.species)

    @property
    def fates(self) -> list[tuple[Verdict, int, int]]:
        """Species and their frames by what becomes of them."""
        species, frames = Counter[str](), Counter[str]()
        for one in self.species:
            species[fate(one).name] += 1
            frames[fate(one).name] += one.frames
        return [(verdict, species[verdict.name], frames[verdict.name]) for verdict in FATES if species[verdict.name]]

    @property
    def by_places(self) -> list[tuple[str, int]]:
        """Species by how many known places they stand at."""
        counts = Counter[str]()
        for one in self.species:
            counts[next((name for least, name in reversed(GROUPS) if len(one.places) >= least), "no known place")] += 1
        return [(name, counts[name]) for name in ("no known place", *(name for _, name in GROUPS)) if counts[name]]

    @property
    def untested(self) -> Sequence[tuple[SpeciesCount, Verdict]]:
        """The most frequent ones first."""
        return [(one, fate(one)) for one in self.species if fate(one) is not TESTED]

    @property
    def shown(self) -> Sequence[tuple[SpeciesCount, Verdict]]:
        return self.untested[:MOST_ROWS]


def testable_section(
    images: pa.Table, species: Sequence[SpeciesCount], kind: str, obstacles: Sequence[str]
) -> Testable:
    """Of IMAGES and their `counts_of`."""
    used = taken(images).filter(pc.field("split").isin(SPLITS))
    names = [name for name in SPLITS if by(used, "split")[name]]
    known = [one for one in species if one.rank == "species"] if names else []
    section = Testable(
        kind=kind,
        splits=[_split(used, name) for name in names],
        species=known,
        higher=sum(one.frames for one in species if one.rank != "species"),
        obstacles=obstacles,
    )
    return replace(section, advice=_advice(section))


def _split(used: pa.Table, name: str) -> SplitCount:
    own = used.filter(pc.field("split") == name)
    animals = own.filter((pc.field("kind") == "animal") & (pc.field("rank") == "species"))
    return SplitCount(name, len(own), *(len(set(by(*one)) - {None}) for one in ((own, "place"), (animals, "label"))))


def _advice(section: Testable) -> list[str]:
    counts = {verdict.name: count for verdict, count, _ in section.fates}
    found = [f"A run would stop here: {text}." for text in section.obstacles]
    if count := counts.get("one_place"):
        told = f"{formats.count(count)} species stand at one place: no split can both train and test them"
        found.append(f"{told}. More cameras, or labels of a further survey, would.")
    if count := counts.get("not_in_test"):
        told = f"{formats.count(count)} species stand at several places and are not tested"
        found.append(f"{told}: another seed, test share or held_out place (data.split) would. Choose by counts alone.")
    if count := counts.get("not_in_train"):
        found.append(f"{formats.count(count)} species are tested without training: read their figures as zero-shot.")
    return found or ["Nothing: every species is trained and tested at different places."]
