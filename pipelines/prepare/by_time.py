"""The split by time: trained on what was before a date, tested on what came after."""

from datetime import date
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from pipelines.prepare.assigned import NONE, TEST, TRAIN, VAL
from pipelines.prepare.days import EPOCH, Days, at, keep_whole, of_events
from pipelines.prepare.proposal import Pins, Proposal
from pipelines.prepare.units import Rows
from xmodal.settings import Settings

NEVER = np.iinfo(np.int32).max
"""A cut behind every day."""


class TimeSplit(Settings):
    """What was captured from a date on tests; of what was before, some days validate and the others train.

    Places are the same before and after: this measures the next season at one's own cameras, and nothing about unseen
    places. A new survey is a test before it is training data: name it in `new`, measure, then take it out again."""

    kind: Literal["time"]
    cut: date | dict[str, date] = Field(default_factory=dict)
    """First day that tests, of all surveys or by survey; a survey without one lies before it whole."""
    new: tuple[str, ...] = ()
    """Surveys that test whole, whatever their clocks say."""
    val: float = Field(default=0.15, gt=0, lt=1)
    """Share of the days before the cut, of each place, that validate."""
    seed: int = 0
    """Seed of the hash."""

    @model_validator(mode="after")
    def _tests(self) -> "TimeSplit":
        if not self.cut and not self.new:
            raise ValueError("nothing tests: give a cut (YYYY-MM-DD, or one for each survey) or name new surveys")
        return self

    def surveys(self) -> set[str]:
        """The surveys that the settings name."""
        return set(self.new) | (set(self.cut) if isinstance(self.cut, dict) else set())

    def inherited(self, old: Settings, pins: Pins) -> Pins | None:
        """The pins of a parent that was cut the same way."""
        return pins if old == self else None

    def propose(self, rows: Rows, pinned: Pins | None) -> Proposal:
        """By the day of each row and of its event. An event with a frame from the cut on tests whole, so that nothing
        trains that was captured later. Where neither row nor event has a date that can be believed, and the survey has
        a cut, it is not known on which side the row belongs."""
        cut, new = self._cuts(rows), np.array([name in self.new for name in rows.surveys], bool)[rows.survey]
        days = Days(rows, rows.dated, self.seed)
        day = np.where(days.drawn < self.val, VAL, TRAIN).astype(np.int8)
        after = new | (rows.dated & (rows.day >= cut))
        undated = np.where(cut < NEVER, NONE, TRAIN).astype(np.int8)
        everything = np.ones(len(rows), bool)
        now, before = (_of_events(days, day, among, undated, after) for among in (everything, rows.known))
        event, whole = keep_whole(rows, now, before, pinned or {})
        own = np.where(rows.dated, at(day, days.own), undated)
        by_event = at(event, rows.event)
        split = np.where(after, TEST, np.where(by_event >= 0, by_event, own)).astype(np.int8)
        bound = (split != TEST) & ((rows.event < 0) | ~at(days.straddling, rows.event).astype(bool))
        pins = dict(pinned or {}) | whole
        return Proposal(split, "untrusted_clock", pins, np.where(bound, days.own, NONE))

    def _cuts(self, rows: Rows) -> np.ndarray:
        """(rows,) days since 1970 from which a row's survey tests."""
        cuts = self.cut if isinstance(self.cut, dict) else dict.fromkeys(rows.surveys, self.cut)
        days = {name: int((np.datetime64(day) - EPOCH).astype(int)) for name, day in cuts.items()}
        return np.array([days.get(name, NEVER) for name in rows.surveys], np.int64)[rows.survey]


def _of_events(days: Days, day: np.ndarray, among: np.ndarray, undated: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(events,) test with a row in `after` (rows,), else the split of the first day (days,), else `undated` (rows,)."""
    event, bound = days.rows.event, days.rows.event >= 0
    default = np.full(len(days.rows.events), NONE, np.int8)
    default[event[bound]] = undated[bound]
    found = of_events(days, day, among, default)
    found[event[bound & after & among]] = TEST
    return found
