"""Which rows train, validate and test: whole places, by a hash, for ever.

The unit of a row is its place; without one, its event; without that, the image itself. A unit's split follows from the
hash of its name and the seed alone, so a new survey never moves an old one. With few places the hash can leave a split
empty: then, in the first version made with these settings, the unit of smallest hash is moved into it, and the
version document carries it (`pinned`) to all later versions. A place that the settings hold out tests, whatever the
hash says.

The same bytes in two splits would leak, and so would one event seen from two places. Of such rows those of one split
stay: of the split that already had one in the parent version, else test before val before train where the split is
published, else that of the first by key. The others are left out as cross_split_duplicate.
"""

import difflib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import DataRefused
from pipelines.prepare.digests import digest, share
from pipelines.prepare.settings import PlaceSplit, PublishedSplit

SPLIT_VERSION = 1
"""Raised when the same rows and settings give other splits."""
PRIORITY = {"test": 0, "val": 1, "train": 2}


@dataclass(frozen=True)
class Placed:
    """A readable file as the split sees it."""

    survey: str
    key: str
    sha256: bytes
    place: str | None
    event: str | None
    published: str | None
    labelled: bool
    senior: bool
    """Whether the parent version used it."""

    @property
    def unit(self) -> str:
        """What goes to one split as a whole."""
        if self.place is not None:
            return f"place {place_hash(self.survey, self.place)}"
        return f"event {self.survey} {self.event}" if self.event is not None else f"file {self.survey} {self.key}"


Assigned = tuple[str, str | None]
"""Split, and why none."""


def place_hash(survey: str, place: str) -> str:
    """16 hex digits for a place's name: equal places stay equal, the name is not stored."""
    return digest("place", survey, place)[:16]


def assign(
    settings: PlaceSplit | PublishedSplit, rows: list[Placed], pinned: Mapping[str, str] | None
) -> tuple[dict[tuple[str, str], Assigned], dict[str, str]]:
    """Split by (survey, key) and the units pinned; `pinned` are those of the parent, None where there is none.

    Raises DataRefused where no image is left to train on or to validate with.
    """
    labelled = [row for row in rows if row.labelled]
    if isinstance(settings, PublishedSplit):
        wanted: dict[tuple[str, str], str] = {(row.survey, row.key): row.published for row in labelled if row.published}
        pins: dict[str, str] = {}
    else:
        held_out = dict.fromkeys(held_out_units(settings, labelled), "test")
        pins = dict(pinned or {}) | held_out
        if pinned is None:
            pins |= pins_of({row.unit for row in labelled} - pins.keys(), settings)
        wanted = {(row.survey, row.key): unit_split(row.unit, settings, pins) for row in labelled}
    published = isinstance(settings, PublishedSplit)
    left_out = linking(labelled, wanted, lambda row: row.sha256, by_priority=published)
    if not published:
        left_out |= linking(labelled, wanted, lambda row: row.event and (row.survey, row.event), by_priority=False)
    return {(row.survey, row.key): _assigned(row, wanted, left_out) for row in rows}, pins


def held_out_units(settings: PlaceSplit, rows: list[Placed]) -> set[str]:
    """Units of the places that the settings hold out. Raises DataRefused for a place that no labelled image is from."""
    places = {row.place for row in rows if row.place is not None}
    for place in settings.held_out:
        if place not in places:
            near = difflib.get_close_matches(place, places, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DataRefused(f"data.split.held_out: no labelled image is from {place!r}{hint}")
    return {row.unit for row in rows if row.place in settings.held_out}


def unit_split(unit: str, settings: PlaceSplit, pins: Mapping[str, str]) -> str:
    """The split of a unit: test below `test`, val in the next `val`, else train; pinned units as pinned."""
    drawn = share(settings.seed, unit)
    hashed = "test" if drawn < settings.test else "val" if drawn < settings.test + settings.val else "train"
    return pins.get(unit, hashed)


def pins_of(units: set[str], settings: PlaceSplit) -> dict[str, str]:
    """Units moved so that train, val and then test have one each, where there are enough: always the unit of smallest
    hash, from the split that has most of those that can spare one."""
    by_split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for unit in sorted(units, key=lambda unit: share(settings.seed, unit)):
        by_split[unit_split(unit, settings, {})].append(unit)
    pins: dict[str, str] = {}
    order = ["train", "val", "test"] if settings.test else ["train", "val"]
    for number, split in enumerate(order):
        spare = {name for name, own in by_split.items() if len(own) > 1 or (own and name in order[number + 1 :])}
        if not by_split[split] and spare:
            unit = by_split[max(sorted(spare), key=lambda name: len(by_split[name]))].pop(0)
            by_split[split].append(unit)
            pins[unit] = split
    return pins


def linking(
    rows: list[Placed], wanted: Mapping[tuple[str, str], str], link: Callable[[Placed], Hashable], by_priority: bool
) -> set[tuple[str, str]]:
    """Rows whose link (bytes, event) also stands in the split that keeps it; a link of None binds nothing."""
    linked: dict[Hashable, list[Placed]] = {}
    for row in rows:
        if (row.survey, row.key) in wanted and link(row) is not None:
            linked.setdefault(link(row), []).append(row)
    left_out = set()
    for group in linked.values():
        splits = {wanted[row.survey, row.key] for row in group}
        if len(splits) > 1:
            kept = wanted[_keeper(group, wanted, by_priority)]
            left_out |= {(row.survey, row.key) for row in group if wanted[row.survey, row.key] != kept}
    return left_out


def _keeper(group: list[Placed], wanted: Mapping[tuple[str, str], str], by_priority: bool) -> tuple[str, str]:
    def rank(row: Placed) -> tuple[Any, ...]:
        priority = PRIORITY[wanted[row.survey, row.key]] if by_priority else 0
        return (not row.senior, priority, row.survey, row.key)

    first = min(group, key=rank)
    return first.survey, first.key


def _assigned(row: Placed, wanted: Mapping[tuple[str, str], str], left_out: set[tuple[str, str]]) -> Assigned:
    name = (row.survey, row.key)
    if not row.labelled:
        return "none", "unlabelled"
    if name in left_out:
        return "none", "cross_split_duplicate"
    return (wanted[name], None) if name in wanted else ("none", "no_published_split")


def check_counts(counts: Mapping[str, int], kind: str) -> None:
    """Raises DataRefused where train or val came out empty."""
    empty = [name for name in ("train", "val") if not counts.get(name)]
    if empty:
        told = ", ".join(f"{name} {counts.get(name, 0)}" for name in ("train", "val", "test", "none"))
        raise DataRefused(f"data.split ({kind}): no image with a text in {' and '.join(empty)} ({told}); "
                          "change its shares or seed, or add places")  # fmt: skip
