"""Rows as the split sees them, made by hand or drawn, for tests of the split policies."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from pipelines.prepare.assigned import SPLITS
from pipelines.prepare.splits import Split
from pipelines.prepare.units import PLACED

Name = tuple[str, str]


@dataclass(frozen=True)
class File:
    """One row of PLACED."""

    key: str
    place: str | None = "p"
    sha256: bytes = b""
    event: str | None = None
    day: date | None = None
    survey: str = "s"
    places_of: str = ""
    published: str | None = None
    labelled: bool = True
    known: bool = False
    senior: bool = False
    meeting: int | None = None

    @property
    def name(self) -> Name:
        return self.survey, self.key


def file(number: int, place: str | None = "p", data: int | None = None, event: str | None = None, **changes) -> File:
    """File NUMBER; `data` names its bytes, which are its own without it; `day` counts from 1 May 2026."""
    sha256 = str(number if data is None else data).encode().rjust(32, b"0")
    day = changes.pop("day", None)
    when = None if day is None else date(2026, 5, 1) + timedelta(day)
    return replace(File(f"{number:04d}", place, sha256, event, when), **changes)


def table(rows: list[File]) -> pa.Table:
    """The rows as a PLACED table."""
    plain = [vars(row) | {"places_of": row.places_of or row.survey} for row in rows]
    return pa.Table.from_pylist(plain, PLACED)


def rows_of(survey: str = "s") -> st.SearchStrategy[list[File]]:
    """Up to 40 rows of few places, events, days and bytes, so that many are linked; some have none of these."""
    names = st.one_of(st.none(), st.integers(0, 9).map(str))
    drawn = st.tuples(names, st.integers(0, 30), names, st.one_of(st.none(), st.integers(0, 5)), st.integers(0, 5))
    return st.lists(drawn, max_size=40).map(lambda every: [_drawn(survey, n, *one) for n, one in enumerate(every)])


def _drawn(survey: str, number: int, place: Any, data: int, event: Any, day: int | None, unlabelled: int) -> File:
    return file(number, place, data, event, day=day, survey=survey, places_of="s", labelled=unlabelled > 0)


def some() -> list[File]:
    """A hundred rows of a dozen places, with copies, and with events that some places share."""
    return [file(n, str(n // 9), n % 90, str(n // 4), day=n % 6) for n in range(110)]


def as_parent(rows: list[File], split: Split) -> list[File]:
    """The rows as the next version sees them."""
    return [replace(row, known=True, senior=_kept(split.of[row.name])) for row in rows]


def _kept(assigned: tuple[str, str | None]) -> bool:
    return assigned[1] not in ("cross_split_duplicate", "untrusted_clock")


def used(split: Split, rows: list[File], link) -> dict[object, set[str]]:
    """Link value to the splits that hold a row of it."""
    found: dict[object, set[str]] = {}
    for row in rows:
        name = split.of[row.name][0]
        if name in SPLITS and link(row) is not None:
            found.setdefault(link(row), set()).add(name)
    return found


def in_splits(split: Split) -> dict[Name, str]:
    """The split of every row that is in one."""
    return {name: given for name, (given, _) in split.of.items() if given in SPLITS}
