"""The split by place: whole places by a hash, for ever."""

import difflib
import re
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pipelines.errors import DataRefused
from pipelines.prepare.assigned import SPLITS, TEST, TRAIN, VAL
from pipelines.prepare.cameras import pc
from pipelines.prepare.cis import cis_cut
from pipelines.prepare.days import DAY, WHOLE
from pipelines.prepare.digests import share
from pipelines.prepare.proposal import Pins, Proposal, codes_of
from pipelines.prepare.units import Rows
from pipelines.prepare.welds import welded
from xmodal.settings import Settings

CIS_LAST = (0, 0, 0, 1, 1)
"""Of a copy in train and in a cis set the one in train stays, so that its place trains."""


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
    """Places that test whatever the hash says: `test: 0` and one of them is a fold of leave-one-place-out. Each as the
    metadata name it, or by its id: 8 to 16 hex digits, as records and the health page have it. The recipe goes to
    version documents, checkpoints and MLflow as it is written: an id keeps the name out of them."""
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
        return Proposal(np.where(train, cut.split, split), pins=pins | cut.pins, cell=cut.cell, priority=CIS_LAST)


def unit_splits(settings: PlaceSplit, rows: Rows, pinned: Pins | None) -> tuple[np.ndarray, dict[str, str]]:
    """(units,) codes, and the pins to carry on. Raises DataRefused where events weld all places into one."""
    apart = held_out_units(settings, rows)
    pins = dict(pinned or {}) | {rows.units[unit]: "test" for unit in np.flatnonzero(apart).tolist()}
    fixed = np.isin(np.arange(len(rows.units)), rows.unit[rows.known])
    fixed |= np.array([name in pins for name in rows.units], bool)
    root = welded(rows, fixed, apart)
    drawn = np.array([share(settings.seed, name) for name in rows.units], np.float64)
    own = codes_of(rows.units, pins, hashed(drawn, settings))
    if pinned is None:
        roots = np.unique(root[rows.unit[rows.labelled]])
        _check_welds(rows, len(roots))
        for unit, split in pins_of(roots[~fixed[roots]], drawn, settings).items():
            own[unit] = split
            pins[rows.units[unit]] = SPLITS[split]
    split = own[root]
    return split, pins | {rows.units[unit]: SPLITS[split[unit]] for unit in np.flatnonzero(split != own).tolist()}


def held_out_units(settings: PlaceSplit, rows: Rows) -> np.ndarray:
    """(units,) those of the places held out. Raises DataRefused for a place that no labelled image is from."""
    apart = np.zeros(len(rows.units), bool)
    for place in settings.held_out:
        own = rows.unit[_is_from(rows, place)]
        if not rows.labelled[np.isin(rows.unit, own)].any():
            places = rows.table["place"].filter(pa.array(rows.labelled)).drop_null().unique().to_pylist()
            near = difflib.get_close_matches(place, places, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DataRefused(f"data.split.held_out: no labelled image is from {place!r}{hint}")
        apart[own] = True
    return apart


def _is_from(rows: Rows, place: str) -> np.ndarray:
    """bool (rows,): whether a row is from a place, named or by its id."""
    called = np.asarray(pc.equal(rows.table["place"], place).fill_null(False), bool)
    if not re.fullmatch("[0-9a-f]{8,16}", place):
        return called
    ids = np.array([name.startswith(f"place {place}") for name in rows.units], bool)
    return called | ids[rows.unit]


def hashed(drawn: np.ndarray, settings: PlaceSplit) -> np.ndarray:
    """Codes: test below `test`, val in the next `val`, else train."""
    return np.where(drawn < settings.test, TEST, np.where(drawn < settings.test + settings.val, VAL, TRAIN))


def pins_of(units: np.ndarray, drawn: np.ndarray, settings: PlaceSplit) -> dict[int, int]:
    """Units (codes) moved so that train, val and then test have one each, where there are enough: always the unit of
    smallest hash (`drawn`, of all units), from the split that has most of those that can spare one."""
    order = units[np.lexsort((units, drawn[units]))]
    split = hashed(drawn[order], settings)
    own = {name: order[split == name].tolist() for name in (TRAIN, VAL, TEST)}
    pins: dict[int, int] = {}
    wanted = [TRAIN, VAL, TEST] if settings.test else [TRAIN, VAL]
    for number, name in enumerate(wanted):
        spare = {one for one in own if len(own[one]) > 1 or (own[one] and one in wanted[number + 1 :])}
        if not own[name] and spare:
            unit = own[max(sorted(spare, key=lambda one: SPLITS[one]), key=lambda one: len(own[one]))].pop(0)
            own[name].append(unit)
            pins[unit] = name
    return pins


def _check_welds(rows: Rows, roots: int) -> None:
    """Event ids that start anew at each camera make one unit of all places: says so, with the event seen from most."""
    if roots > 1 or not rows.labelled.any():
        return
    pairs = np.unique(np.stack([rows.event, rows.unit])[:, rows.placed & (rows.event >= 0)], axis=1)
    seen = np.bincount(pairs[0], minlength=1) if len(pairs[0]) else np.zeros(1, int)
    if seen.max() > 1:
        survey, event = rows.events[int(seen.argmax())].as_py().split(" ", 1)
        raise DataRefused(
            f"survey {survey}: event {event} is seen from {seen.max()} places, and events link all places into one; "
            "the ids of events must be unique within a survey"
        )
