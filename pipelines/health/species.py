"""Which species stand at which places, and which of them a model could be tested on at places it has not seen."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.health import charts
from pipelines.health.counting import by, counted, some, taken
from pipelines.health.section import HealthSection
from pipelines.prepare.assigned import SPLITS
from pipelines.report import formats
from pipelines.report.charts import Chart
from pipelines.report.sections import FEW

MOST_SPECIES = 24
MOST_PLACES = 30
MOST_ROWS = 120
"""Of the list of species that cannot be tested."""
STEPS = (1, 2, 10, 100, 1000, 10_000)
"""Frames from which a species counts to the next class of the tail."""


@dataclass
class SpeciesCount:
    """What there is of one species, or of a taxon that is none; a subspecies counts as its species."""

    label: str
    rank: str | None = None
    name: str | None = None
    frames: int = 0
    places: Counter[str] = field(default_factory=Counter)
    """Known places."""
    splits: Counter[str] = field(default_factory=Counter)
    unseen: int = 0
    """Test frames at known places where nothing trains."""


def counts_of(images: pa.Table) -> list[SpeciesCount]:
    """Of IMAGES that would be taken and show a named animal, the most frequent first."""
    own = taken(images).filter((pc.field("kind") == "animal") & pc.field("label").is_valid())
    trained = set(by(taken(images).filter(pc.field("split") == "train"), "place"))
    found = defaultdict[str, SpeciesCount](lambda: SpeciesCount(""))
    for (label, rank, name, place, split), count in counted(own, "label", "rank", "name", "place", "split").items():
        one = found[label]
        one.label, one.rank, one.name = label, one.rank or rank, one.name or name
        one.frames += count
        one.places.update({place: count} if place else {})
        one.splits.update({split: count} if split in SPLITS else {})
        one.unseen += count if split == "test" and place and place not in trained else 0
    return sorted(found.values(), key=lambda one: (-one.frames, one.label))


@dataclass(frozen=True, kw_only=True)
class Coverage(HealthSection):
    """Species by place."""

    anchor: ClassVar[str] = "species"
    title: ClassVar[str] = "Species and places"
    lead: ClassVar[str] = (
        "Frames of each species at each place, as the labels say, a subspecies as its species. A species at few places "
        "is easily learnt as the background of these places."
    )

    species: Sequence[SpeciesCount] = ()
    kinds: Counter[str | None]
    """Frames by what their labels say; None = no label reaches them."""
    named: Sequence[str] = ()
    """Rows of the matrix."""
    places: Sequence[str] = ()
    """Its columns."""
    matrix: np.ndarray
    every_place: int
    nowhere: int
    """Frames of named animals without a known place."""

    def __bool__(self) -> bool:
        return bool(self.species)

    @property
    def drawn(self) -> Chart:
        return charts.coverage(self.named, self.places, self.matrix)

    @property
    def tail(self) -> Chart:
        return charts.tail([one.frames for one in self.species], FEW)

    @property
    def classes(self) -> list[tuple[str, int, int]]:
        """Frames a species has, species with so many, frames of these together."""
        frames = np.array([one.frames for one in self.species])
        found = []
        for low, high in zip(STEPS, (*STEPS[1:], None), strict=True):
            own = frames[(frames >= low) & (frames < high if high else True)]
            found.append((_class(low, high), len(own), int(own.sum())))
        return [row for row in found if row[1]]

    @property
    def shown(self) -> Sequence[SpeciesCount]:
        return self.species[:MOST_SPECIES]


def _class(low: int, high: int | None) -> str:
    """`low` up to below `high` in words."""
    if high is None:
        return f"{formats.count(low)} and more"
    return formats.count(low) if high == low + 1 else f"{formats.count(low)} to {formats.count(high - 1)}"


def coverage_section(images: pa.Table, species: Sequence[SpeciesCount]) -> Coverage:
    """Of IMAGES and their `counts_of`."""
    everywhere = Counter[str]()
    for one in species:
        everywhere.update(one.places)
    nowhere = sum(one.frames - one.places.total() for one in species)
    columns = [name for name, _ in sorted(everywhere.items(), key=lambda pair: (-pair[1], pair[0]))]
    matrix, rows, named = _matrix(species, columns, nowhere)
    return Coverage(
        species=species,
        kinds=by(taken(images), "kind"),
        named=rows,
        places=named,
        matrix=matrix,
        every_place=len(everywhere),
        nowhere=nowhere,
        advice=_coverage_advice(species, nowhere),
    )


def _matrix(
    species: Sequence[SpeciesCount], columns: Sequence[str], nowhere: int
) -> tuple[np.ndarray, list[str], list[str]]:
    """(R, C) frames with the names of rows and columns: the most frequent ones, then all others as one."""
    rest, further = len(species) - MOST_SPECIES, len(columns) - MOST_PLACES
    rows = [one.label for one in species[:MOST_SPECIES]] + ([f"{formats.count(rest)} others"] if rest > 0 else [])
    shown = {place: number for number, place in enumerate(columns[:MOST_PLACES])}
    names = (
        [*shown] + ([f"{formats.count(further)} others"] if further > 0 else []) + ([charts.NOWHERE] if nowhere else [])
    )
    cells = np.zeros((len(rows), len(names)), np.int64)
    for number, one in enumerate(species):
        row = min(number, len(rows) - 1)
        for place, count in one.places.items():
            cells[row, shown.get(place, MOST_PLACES)] += count
        if nowhere:
            cells[row, -1] += one.frames - one.places.total()
    return cells, rows, names


def _coverage_advice(species: Sequence[SpeciesCount], nowhere: int) -> list[str]:
    single = [one for one in species if len(one.places) == 1]
    found = []
    if single:
        frames = sum(one.frames for one in single)
        told = f"{formats.count(len(single))} of them with {some(frames, 'frame')} at one place only"
        found.append(f"{told}: look for them in the frames of other cameras first.")
    if nowhere:
        told = f"{some(nowhere, 'frame')} without a place"
        found.append(f"{told}: state it in the metadata, or a split by place promises nothing about them.")
    few = sum(one.frames < FEW for one in species)
    if few:
        told = f"{formats.count(few)} of {formats.count(len(species))} have fewer than {FEW} frames"
        found.append(f"{told}: expect no figure of them to be trusted. train.class_power draws rare ones more often.")
    return found or ["Nothing: every species stands at several places."]
