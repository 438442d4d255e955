"""Rows as the split sees them, and the unit of each: a table, and the same as arrays of codes for a million rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.prepare.assigned import NONE, SPLITS
from pipelines.prepare.digests import digest

PLACED = pa.schema(
    [
        ("survey", pa.string()),
        ("key", pa.string()),
        ("sha256", pa.binary(32)),
        ("places_of", pa.string()),  # whose names the places are; the survey's own name unless it says otherwise
        ("place", pa.string()),  # null = unknown
        ("event", pa.string()),  # unique within the survey; null = unknown
        ("day", pa.date32()),  # of the local wall time; null where the date cannot be believed
        ("published", pa.string()),  # the set's own split
        ("labelled", pa.bool_()),  # whether a label or caption could give a text
        ("known", pa.bool_()),  # whether the parent version held the file
        ("senior", pa.bool_()),  # whether the parent version used it
    ]
)


def place_hash(places_of: str, place: str) -> str:
    """16 hex digits for a place's name: equal places stay equal, the name is not stored."""
    return digest("place", places_of, place)[:16]


def coded(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """The distinct values, rising, and (rows,) the position of each row's value among them; -1 for null."""
    whole = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    found = whole.combine_chunks().dictionary_encode()
    order = pc.sort_indices(found.dictionary)  # pyright: ignore[reportAttributeAccessIssue]
    rank = np.full(len(order) + 1, NONE, np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    return found.dictionary.take(order), rank[found.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


@dataclass(frozen=True)
class Rows:
    """PLACED rows sorted by survey and key, one value a row in each array. Codes rise with the names they stand for,
    so nothing depends on the order in which rows or surveys come; -1 stands for null."""

    table: pa.Table
    surveys: list[str]
    survey: np.ndarray
    units: list[str]
    """What goes to one split as a whole: `place HASH`; without a place `event SURVEY EVENT`; without either
    `file SURVEY KEY`."""
    unit: np.ndarray
    events: pa.Array
    """`SURVEY EVENT`."""
    event: np.ndarray
    file: np.ndarray
    """Codes of equal bytes."""
    day: np.ndarray
    """Days since 1970, 0 where not `dated`."""
    dated: np.ndarray
    published: np.ndarray
    """Codes of SPLITS."""
    labelled: np.ndarray
    known: np.ndarray
    senior: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> "Rows":
        """Of a PLACED table in any order."""
        table = table.sort_by([("survey", "ascending"), ("key", "ascending")]).combine_chunks()
        surveys, survey = coded(table["survey"])
        units, unit = coded(_unit_names(table))
        events, event = coded(joined(table["survey"], table["event"]))
        published = pc.index_in(table["published"], pa.array(SPLITS))  # pyright: ignore[reportAttributeAccessIssue]
        day = table["day"].cast(pa.int32())
        flags = (table[name].to_numpy().astype(bool) for name in ("labelled", "known", "senior"))
        return cls(
            table,
            surveys.to_pylist(),
            survey,
            units.to_pylist(),
            unit,
            events,
            event,
            coded(table["sha256"])[1],
            day.fill_null(0).to_numpy(),
            day.is_valid().to_numpy().astype(bool),
            published.fill_null(NONE).to_numpy().astype(np.int8),
            *flags,
        )

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def placed(self) -> np.ndarray:
        """Whether a row's place is known."""
        return self.table["place"].is_valid().to_numpy().astype(bool)

    @cached_property
    def loose(self) -> np.ndarray:
        """Whether a row has neither place nor event, and so is a unit by itself."""
        return ~self.placed & (self.event < 0)


def joined(*columns: Any) -> Any:
    """Names put together; null where one of them is. Names of surveys hold no space, so none become equal."""
    return pc.binary_join_element_wise(*columns, " ")  # pyright: ignore[reportAttributeAccessIssue]


def _unit_names(table: pa.Table) -> Any:
    """The name of each row's unit."""
    places, code = coded(joined(table["places_of"], table["place"]))
    hashed = [f"place {place_hash(*name.split(' ', 1))}" for name in places.to_pylist()]
    place = pa.array(hashed, pa.string()).take(pa.array(code, pa.int64(), mask=code < 0))
    event = joined(pa.scalar("event"), table["survey"], table["event"])
    file = joined(pa.scalar("file"), table["survey"], table["key"])
    return pc.coalesce(place, event, file)  # pyright: ignore[reportAttributeAccessIssue]
