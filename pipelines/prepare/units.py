"""Rows as the split sees them, and the unit of each: a table, and the same as arrays of codes for a million rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.prepare.assigned import NONE, SPLITS
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import MANY
from pipelines.prepare.digests import digest
from pipelines.prepare.spill import give_back

PLACED = pa.schema(
    [
        ("survey", pa.string()),
        ("key", pa.string()),
        ("sha256", pa.binary(32)),
        ("places_of", pa.string()),  # whose names the places are; the survey's own name unless it says otherwise
        ("place", pa.string()),  # null = unknown
        ("event", pa.string()),  # unique within the survey; null = unknown
        ("meeting", pa.int32()),  # of frames in a row among which several old events meet; null = no such
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


def coded(*columns: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """The distinct values, rising, and int32 (rows,) the position of each row's value among them; -1 for null. Several
    columns are put together as `joined` has it, some thousand rows at a time."""
    found = _coded(list(columns))
    give_back()
    return found


def _coded(columns: list[Any]) -> tuple[pa.Array, np.ndarray]:
    table = pa.table(columns, [str(number) for number in range(len(columns))])
    parts = [_together(batch.columns).dictionary_encode() for batch in table.to_batches(MANY)]
    kind = _together([column[:0] for column in columns]).type
    chunks = pa.chunked_array(parts, pa.dictionary(pa.int32(), kind)).unify_dictionaries().chunks
    names = chunks[0].dictionary if chunks else pa.array([], kind)
    order = pc.sort_indices(names)
    rank = np.full(len(order) + 1, NONE, np.int32)
    rank[order.to_numpy()] = np.arange(len(order))
    codes = (rank[chunk.indices.fill_null(-1).to_numpy()] for chunk in chunks)
    return names.take(order), np.concatenate([np.empty(0, np.int32), *codes])


def _together(columns: list[Any]) -> Any:
    return joined(*columns) if len(columns) > 1 else columns[0]


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
    meeting: np.ndarray
    """Codes of frames in a row among which several old events meet."""
    file: np.ndarray
    """Codes of equal bytes; -1 for nearly all that stand in one row alone."""
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
        table = table if _is_sorted(table) else table.sort_by([("survey", "ascending"), ("key", "ascending")])
        surveys, survey = coded(table["survey"])
        events, event = coded(table["survey"], table["event"])
        units, unit = _units(table, events, event)
        published = pc.index_in(table["published"], pa.array(SPLITS))
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
            _numbered(survey, table["meeting"]),
            copies(table["sha256"]),
            day.fill_null(0).to_numpy(),
            np.asarray(day.is_valid(), bool),
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
    return pc.binary_join_element_wise(*columns, " ")


def _numbered(survey: np.ndarray, column: pa.ChunkedArray) -> np.ndarray:
    """(rows,) codes of numbers that are unique within a survey."""
    number = column.fill_null(NONE).to_numpy().astype(np.int64)
    there, found = np.flatnonzero(number != NONE), np.full(len(number), NONE, np.int64)
    found[there] = np.unique((survey[there].astype(np.int64) << 32) + number[there], return_inverse=True)[1]
    return found


def copies(column: pa.ChunkedArray) -> np.ndarray:
    """int32 (rows,) codes of equal SHA-256; -1 where the first 64 bits are no other row's, as of nearly all that stand
    in one row alone."""
    first = np.concatenate([np.empty(0, np.uint64), *(_first_bits(chunk) for chunk in column.chunks if len(chunk))])
    rising = np.sort(first)
    several = np.isin(first, rising[1:][rising[1:] == rising[:-1]])
    found = np.full(len(column), NONE, np.int32)
    found[several] = coded(column.filter(pa.array(several)))[1]
    return found


def _first_bits(chunk: pa.Array) -> np.ndarray:
    """uint64 (rows,) of a column of 32 bytes each; anything for null."""
    _, data = chunk.buffers()
    return np.frombuffer(data, np.uint64)[4 * chunk.offset :: 4][: len(chunk)]


def _is_sorted(table: pa.Table) -> bool:
    """By survey and key."""
    (survey, key), (next_survey, next_key) = ((part["survey"], part["key"]) for part in (table[:-1], table[1:]))
    within = pc.and_(pc.equal(survey, next_survey), pc.less(key, next_key))
    return pc.all(pc.or_(pc.less(survey, next_survey), within)).as_py() is not False


def _units(table: pa.Table, events: pa.Array, event: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """The names of the units, rising, and (rows,) the unit of each row."""
    places, place = coded(table["places_of"], table["place"])
    hashed = [f"place {place_hash(*name.split(' ', 1))}" for name in places.to_pylist()]
    loose = np.flatnonzero((place < 0) & (event < 0))
    files = table.select(["survey", "key"]).take(pa.array(loose))
    row = np.where(place >= 0, place, len(places) + event)
    row[loose] = len(places) + len(events) + np.arange(len(loose))
    used = np.zeros(len(places) + len(events) + len(loose), bool)
    used[row] = True
    names = [pa.array(hashed, pa.string()), joined(pa.scalar("event"), events)]
    names += joined(pa.scalar("file"), files["survey"], files["key"]).chunks
    found, code = coded(pa.chunked_array(names, pa.string()).filter(pa.array(used)))
    return found, code[np.cumsum(used) - 1][row]
