"""Which rows train, validate and test: whole units by a hash, for ever.

**Units.** The unit of a row is its place; without one, its event; without that, the image itself. Units that one event
is seen from go together, and so do exact copies among images without place and event (`welds`, a union-find). A unit's
split follows from the hash of its name and the seed alone; of units that go together the last by name decides (places
before files before events).

**Old units never move.** With few places the hash can leave a split empty: then, in the first version made with these
settings, the unit of smallest hash is moved into it. This, and every unit whose split is not that of its own hash, is
`pinned` in the version document and carried to all later versions. In these the units of the parent are fixed: new
units that an event links to one of them join it, and nothing joins two of them. A place that the settings hold out
tests, whatever the hash says, and draws no other place after it. Made events keep their names (`kept_events`), and so
do the units that are events.

**Nothing stands in two splits.** The same bytes at two places weld nothing (one black frame would join half an
archive), and rows of a later version may link what is fixed apart. Where frames in a row meet old events of several
splits, the new ones are left out as cross_split_duplicate. Of other such rows those of one split stay: of the split
that already had one in the parent version, else test before val before train where the split is published and any
other before the cis sets, else that of the first by survey and key. The others are left out for the same reason: first
by bytes, then by event, then by the day of a place where days are cut.

Where days are cut (the cis sets, a split by time) see `cis`, `by_time` and `days`. Nothing depends on the order of rows
or surveys.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from pipelines.errors import DataRefused
from pipelines.prepare.assigned import NONE, SPLITS, Assigned, Reason
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import mask
from pipelines.prepare.days import straddling
from pipelines.prepare.proposal import Pins, Proposal
from pipelines.prepare.settings import SplitSettings
from pipelines.prepare.units import Rows

SPLIT_VERSION = 2
"""Raised when the same rows and settings give other splits."""
REASONS: tuple[Reason, ...] = get_args(Reason)
ASSIGNED: tuple[Assigned, ...] = (*((name, None) for name in SPLITS), *(("none", reason) for reason in REASONS))
"""What may become of a row."""


@dataclass(frozen=True, eq=False)
class Split:
    """What became of every row, and what the version document says of it."""

    rows: pa.Table
    """Survey and key of every row, sorted."""
    code: np.ndarray
    """(rows,) positions in ASSIGNED."""
    pinned: dict[str, str]
    without_place: float
    """Share of the rows in a split whose place is not known."""

    @cached_property
    def of(self) -> dict[tuple[str, str], Assigned]:
        """By survey and key: for few rows."""
        names = zip(*(self.rows[name].to_pylist() for name in ("survey", "key")), strict=True)
        return {name: ASSIGNED[one] for name, one in zip(names, self.code.tolist(), strict=True)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Split):
            return NotImplemented
        return (self.of, self.pinned, self.without_place) == (other.of, other.pinned, other.without_place)

    def of_survey(self, name: str) -> np.ndarray:
        """Positions in ASSIGNED of a survey's rows, sorted by key."""
        return self.code[mask(pc.equal(self.rows["survey"], name))]


def assign(settings: SplitSettings, table: pa.Table, pinned: Pins | None) -> Split:
    """Splits the rows of a `units.PLACED` table; `pinned` are the parent's pins, None where it was split another way.

    Raises DataRefused where the settings do not fit the data.
    """
    rows = Rows.of(table)
    if pinned is None:
        rows = replace(rows, known=np.zeros(len(rows), bool))
    proposal = settings.propose(rows, pinned)
    split = np.where(rows.labelled, proposal.split, NONE)
    reason = np.where(rows.labelled, REASONS.index(proposal.reason), REASONS.index("unlabelled")).astype(np.int8)
    for crossing in _crossings(rows, split, proposal):
        split[crossing], reason[crossing] = NONE, REASONS.index("cross_split_duplicate")
    used = split != NONE
    without = float((used & ~rows.placed).sum() / max(1, used.sum()))
    code = np.where(split == NONE, len(SPLITS) + reason, split).astype(np.int8)
    return Split(rows.table.select(["survey", "key"]), code, dict(sorted(proposal.pins.items())), round(without, 6))


def _crossings(rows: Rows, split: np.ndarray, proposal: Proposal) -> Iterator[np.ndarray]:
    """(rows,) those that one link after the other leaves out; `split` is that without them."""
    yield _meeting(rows, split)
    for link in (rows.file, rows.event, proposal.cell):
        if link is not None:
            yield _crossing(rows, split, link, proposal)


def _meeting(rows: Rows, split: np.ndarray) -> np.ndarray:
    """(rows,) the new ones among which old events of several splits meet: they are of both."""
    crossed = np.append(straddling(rows.meeting, split, int(rows.meeting.max(initial=NONE)) + 1), False)[rows.meeting]
    return crossed & ~rows.senior & (split != NONE)


def _crossing(rows: Rows, split: np.ndarray, link: np.ndarray, proposal: Proposal) -> np.ndarray:
    """(rows,) those whose link (code; NONE binds nothing) also stands in the split that keeps it."""
    crossed = np.append(straddling(link, split, int(link.max(initial=NONE)) + 1), False)[link]
    bound = np.flatnonzero(crossed & (split != NONE))
    priority = np.array(proposal.priority)[split[bound]]
    order = bound[np.lexsort((bound, priority, ~rows.senior[bound], link[bound]))]
    starts = np.flatnonzero(np.append(True, link[order][1:] != link[order][:-1])[: len(order)])
    kept = np.repeat(split[order][starts], np.diff(np.append(starts, len(order))))
    found = np.zeros(len(rows), bool)
    found[order] = split[order] != kept
    return found


def told(kind: str, split: Split) -> dict[str, Any]:
    """The version document's words: pins, and whether every row in a split comes from a known place that no other split
    has (`location_guarantee`), with the share of rows whose place is not known."""
    sure = kind == "place" and split.without_place == 0
    return {"pinned": split.pinned, "location_guarantee": sure, "without_place": split.without_place}


def check_counts(counts: Mapping[str, int], kind: str) -> None:
    """Raises DataRefused where train or val came out empty."""
    empty = [name for name in ("train", "val") if not counts.get(name)]
    if empty:
        shown = ["train", "val", "test", *sorted(counts.keys() & {"cis_val", "cis_test"}), "none"]
        told = ", ".join(f"{name} {counts.get(name, 0)}" for name in shown)
        raise DataRefused(f"data.split ({kind}): no image with a text in {' and '.join(empty)} ({told}); "
                          "change its shares, seed or cut, or add places")  # fmt: skip
