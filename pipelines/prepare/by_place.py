"""The split by place: whole places by a hash, for ever."""

import difflib
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from pipelines.errors import DataRefused
from pipelines.prepare.assigned import SPLITS, TRAIN
from pipelines.prepare.cis import cis_cut
from pipelines.prepare.days import DAY, WHOLE
from pipelines.prepare.digests import share
from pipelines.prepare.proposal import Pins, Proposal
from pipelines.prepare.units import Rows
from pipelines.prepare.welds import welded
from xmodal.settings import Settings


class PlaceSplit(Settings):
    """Whole places go to one split each, by a hash: a place never moves when a survey is added."""

    kind: Literal["place"]
    val: float = Field(default=0.15, gt=0, lt=1)
    """Share of the places that validate."""
    test: float = Field(default=0.15, ge=0, lt=1)
    """Share of the places that test."""
    seed: int = 0
    """Seed of the hash."""
    held_out: tuple[str, ...] = ()
    """Places, as the metadata name them, that test whatever the hash says: `test: 0` and one of them is a fold of
    leave-one-place-out."""
    cis_val: float = Field(default=0, ge=0, lt=1)
    """Share of the days of training places that go to `cis_val`: seen places, other days."""
    cis_test: float = Field(default=0, ge=0, lt=1)
    """Share of the days of training places that go to `cis_test`: beside `test`, it tells how much of a figure is the
    place."""

    @model_validator(mode="after")
    def _leaves_train(self) -> "PlaceSplit":
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave no place to train on")
        if self.cis_val + self.cis_test >= 1:
            raise ValueError(f"cis_val {self.cis_val} and cis_test {self.cis_test} leave no day to train on")
        return self

    def surveys(self) -> set[str]:
        """The surveys that the settings name."""
        return set()

    def inherited(self, old: Settings, pins: Pins) -> Pins | None:
        """The pins of a parent split by `old`; without those of days where only the cis shares have changed; None where
        places may move."""
        if old == self:
            return pins
        cis = {"cis_val": self.cis_val, "cis_test": self.cis_test}
        if not isinstance(old, PlaceSplit) or old.model_copy(update=cis) != self:
            return None
        return {name: split for name, split in pins.items() if not name.startswith((DAY, WHOLE))}

    def propose(self, rows: Rows, pinned: Pins | None) -> Proposal:
        """Units by place, and the days of those that train."""
        unit, pins = unit_splits(self, rows, pinned)
        split = unit[rows.unit]
        if not self.cis_val + self.cis_test:
            return Proposal(split, pins=pins)
        train = split == TRAIN
        cut = cis_cut(rows, train, self.cis_val, self.cis_test, self.seed, pins)
        return Proposal(np.where(train, cut.split, split), pins=pins | cut.pins, cell=cut.cell)


def unit_splits(settings: PlaceSplit, rows: Rows, pinned: Pins | None) -> tuple[np.ndarray, dict[str, str]]:
    """(units,) codes, and the pins to carry on. Raises DataRefused where events weld all places into one."""
    apart = held_out_units(settings, rows)
    pins = dict(pinned or {}) | {rows.units[unit]: "test" for unit in np.flatnonzero(apart).tolist()}
    fixed = np.isin(np.arange(len(rows.units)), rows.unit[rows.known])
    fixed |= np.array([name in pins for name in rows.units], bool)
    root = welded(rows, fixed, apart)
    if pinned is None:
        asked = {rows.units[unit] for unit in np.unique(root[rows.unit[rows.labelled]]).tolist()} - pins.keys()
        _check_welds(rows, len(asked | pins.keys()))
        pins |= pins_of(asked, settings)
    roots, place = np.unique(root, return_inverse=True)
    split = np.array([SPLITS.index(unit_split(rows.units[one], settings, pins)) for one in roots.tolist()], np.int8)
    for unit in np.flatnonzero(root != np.arange(len(root))).tolist():
        own = SPLITS[split[place[unit]]]
        if unit_split(rows.units[unit], settings, pins) != own:
            pins[rows.units[unit]] = own
    return split[place], pins


def held_out_units(settings: PlaceSplit, rows: Rows) -> np.ndarray:
    """(units,) those of the places held out. Raises DataRefused for a place that no labelled image is from."""
    names = rows.table["place"]
    places = set(names.filter(pa.array(rows.labelled)).drop_null().unique().to_pylist()) if settings.held_out else set()
    for place in settings.held_out:
        if place not in places:
            near = difflib.get_close_matches(place, places, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DataRefused(f"data.split.held_out: no labelled image is from {place!r}{hint}")
    held = pc.is_in(names, pa.array(settings.held_out, pa.string()))  # pyright: ignore[reportAttributeAccessIssue]
    return np.isin(np.arange(len(rows.units)), rows.unit[held.to_numpy()])


def unit_split(unit: str, settings: PlaceSplit, pins: Pins) -> str:
    """The split of a unit: test below `test`, val in the next `val`, else train; pinned units as pinned."""
    return pins[unit] if unit in pins else _by(share(settings.seed, unit), settings)


def _by(drawn: float, settings: PlaceSplit) -> str:
    return "test" if drawn < settings.test else "val" if drawn < settings.test + settings.val else "train"


def pins_of(units: set[str], settings: PlaceSplit) -> dict[str, str]:
    """Units moved so that train, val and then test have one each, where there are enough: always the unit of smallest
    hash, from the split that has most of those that can spare one."""
    by_split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for drawn, unit in sorted((share(settings.seed, unit), unit) for unit in units):
        by_split[_by(drawn, settings)].append(unit)
    pins: dict[str, str] = {}
    order = ["train", "val", "test"] if settings.test else ["train", "val"]
    for number, split in enumerate(order):
        spare = {name for name, own in by_split.items() if len(own) > 1 or (own and name in order[number + 1 :])}
        if not by_split[split] and spare:
            unit = by_split[max(sorted(spare), key=lambda name: len(by_split[name]))].pop(0)
            by_split[split].append(unit)
            pins[unit] = split
    return pins


def _check_welds(rows: Rows, apart: int) -> None:
    """Event ids that start anew at each camera make one unit of all places: says so, with the event seen from most."""
    if apart > 1 or not rows.labelled.any():
        return
    pairs = np.unique(np.stack([rows.event, rows.unit])[:, rows.placed & (rows.event >= 0)], axis=1)
    seen = np.bincount(pairs[0], minlength=1) if len(pairs[0]) else np.zeros(1, int)
    if seen.max() > 1:
        survey, event = rows.events[int(seen.argmax())].as_py().split(" ", 1)
        raise DataRefused(
            f"survey {survey}: event {event} is seen from {seen.max()} places, and events link all places into one; "
            "the ids of events must be unique within a survey"
        )
