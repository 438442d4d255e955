"""Cuts by day: whole days of one unit by a hash, and no event cut.

An event goes where its first day goes, also past midnight. Rows that a later version adds could move that day: then the
event is pinned where it was.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.prepare.assigned import NONE, SPLITS
from pipelines.prepare.digests import share
from pipelines.prepare.proposal import Pins
from pipelines.prepare.units import Rows

EPOCH = np.datetime64("1970-01-01", "D")
MOST_DAYS = 1 << 24
"""More than the calendar's days on either side of 1970: a unit and a day make one integer."""
DAY = "day "
WHOLE = "whole event "
"""How the pins of days and of events begin."""


@dataclass(frozen=True)
class Days:
    """The days of units, of the rows in `within` (rows,); they have dates that can be believed."""

    rows: Rows
    within: np.ndarray
    seed: int

    @cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray]:
        at = np.flatnonzero(self.within)
        key = self.rows.unit[at].astype(np.int64) * MOST_DAYS + self.rows.day[at] + MOST_DAYS // 2
        keys, code = np.unique(key, return_inverse=True)
        own = np.full(len(self.rows), NONE, np.int64)
        own[at] = code
        return keys, own

    @property
    def own(self) -> np.ndarray:
        """(rows,) code of unit and day; NONE without a day."""
        return self._cells[1]

    @cached_property
    def unit(self) -> np.ndarray:
        """(days,) code of the unit."""
        return self._cells[0] // MOST_DAYS

    @cached_property
    def names(self) -> list[str]:
        """`day UNIT YYYY-MM-DD`."""
        dates = EPOCH + (self._cells[0] % MOST_DAYS - MOST_DAYS // 2)
        return [f"{DAY}{self.rows.units[unit]} {date}" for unit, date in zip(self.unit.tolist(), dates, strict=True)]

    @cached_property
    def drawn(self) -> np.ndarray:
        """(days,) the hash of each, in [0, 1)."""
        return np.array([share(self.seed, name) for name in self.names], np.float64)

    def lead(self, among: np.ndarray) -> np.ndarray:
        """(events,) code of the first day of each event by its rows in `among` (rows,); NONE where it has none."""
        at = np.flatnonzero(among & self.within & (self.rows.event >= 0))
        order = at[np.lexsort((self.rows.unit[at], self.rows.day[at], self.rows.event[at]))]
        events, first = np.unique(self.rows.event[order], return_index=True)
        found = np.full(len(self.rows.events), NONE, np.int64)
        found[events] = self.own[order[first]]
        return found

    @cached_property
    def straddling(self) -> np.ndarray:
        """(events,) whether an event has rows of several days or units."""
        return straddling(self.rows.event, self.own, len(self.rows.events))


def straddling(event: np.ndarray, cell: np.ndarray, events: int) -> np.ndarray:
    """(events,) whether the rows of an event (code or NONE) stand in more than one cell (code or NONE)."""
    bound = (event >= 0) & (cell >= 0)
    least, most = np.full(events, np.iinfo(np.int64).max), np.full(events, NONE, np.int64)
    np.minimum.at(least, event[bound], cell[bound])
    np.maximum.at(most, event[bound], cell[bound])
    return (most >= 0) & (least != most)


def of_events(days: Days, split: np.ndarray, among: np.ndarray, undated: np.ndarray) -> np.ndarray:
    """(events,) the split of each event by its rows in `among` (rows,): that of its first day, by `split` (days,);
    `undated` (events,) where none has a day; NONE where none is there."""
    lead, event = days.lead(among), days.rows.event[among & (days.rows.event >= 0)]
    found = np.full(len(undated), NONE, np.int8)
    found[event] = np.where(lead < 0, undated, at(split, lead))[event]
    return found


def at(values: np.ndarray, code: np.ndarray) -> np.ndarray:
    """The value at each code; NONE for NONE."""
    return np.append(values, NONE)[code]


def keep_whole(rows: Rows, now: np.ndarray, before: np.ndarray, pins: Pins) -> tuple[np.ndarray, dict[str, str]]:
    """(events,) the split of each event, and the pins of those that new rows would have moved.

    `now` (events,) as all rows say, `before` (events,) as the rows say that the parent version held; NONE: nothing.
    """
    told = {name.removeprefix(WHOLE): SPLITS.index(split) for name, split in pins.items() if name.startswith(WHOLE)}
    place = pc.index_in(pa.array(told, pa.string()), rows.events)  # pyright: ignore[reportAttributeAccessIssue]
    pinned = np.full(len(now), NONE, np.int8)
    there = place.is_valid().to_numpy(zero_copy_only=False)
    pinned[place.drop_null().to_numpy()] = np.fromiter(told.values(), np.int8)[there]
    moved = np.flatnonzero((pinned < 0) & (before >= 0) & (now != before))
    new = {f"{WHOLE}{rows.events[event]}": SPLITS[before[event]] for event in moved.tolist()}
    return np.where(pinned >= 0, pinned, np.where(before >= 0, before, now)).astype(np.int8), new
