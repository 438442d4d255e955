"""Arrow columns as arrays of numpy and as rows of Python, and positions of which some are none."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.prepare.cameras import pc

NONE = -1
"""Position of a row that is not there."""
BATCH = 8192
"""Rows that are Python objects at a time."""
MANY = 1 << 14
"""Rows of columns that are in memory at a time; whole row groups of Parquet."""


def mask(column: Any) -> np.ndarray:
    """bool (rows,) of a column of booleans; null is False."""
    return np.asarray(column.fill_null(False), bool)


def rows_at(positions: np.ndarray) -> pa.Array:
    """Positions to take; NONE takes a row of nulls."""
    return pa.array(positions, pa.int64(), mask=positions == NONE)


def taken(table: pa.Table, positions: np.ndarray) -> pa.Table:
    """Rows of a table, all null for NONE. `Table.take` copies the chunks of a table together first; this does not."""
    chunks = table.to_batches()
    if len(chunks) < 2:
        return table.take(rows_at(positions))
    order = np.argsort(positions, kind="stable")
    begins = np.cumsum([0, *map(len, chunks[:-1])])
    some = np.split(positions[order], np.searchsorted(positions[order], begins[1:]))
    found = [
        chunk.take(rows_at(np.maximum(own - begin, NONE)))
        for chunk, own, begin in zip(chunks, some, begins, strict=True)
        if len(own)
    ]
    whole = pa.Table.from_batches(found, table.schema).combine_chunks()
    back = np.empty(len(order), np.int64)
    back[order] = rising_order = np.arange(len(order))
    return whole if np.array_equal(order, rising_order) else whole.take(pa.array(back))


def matched(keys: pa.ChunkedArray, among: pa.ChunkedArray) -> np.ndarray:
    """int32 (keys,) the position of each key `among` others, NONE where it is none of them. Both rise, so that a hash
    table of some thousand is enough."""
    found, low = np.full(len(keys), NONE, np.int32), 0
    for start in range(0, len(among), MANY):
        others = among.slice(start, MANY)
        high = low + above(keys.slice(low), others[-1].as_py())
        own = pc.index_in(keys.slice(low, high - low), value_set=others)
        found[low:high] = pc.add(own, start).fill_null(NONE).to_numpy()
        low = high
    return found


def above(keys: pa.ChunkedArray, key: str) -> int:
    """How many of the rising `keys` are not above one."""
    return bisect_right(_Values(keys), key)


class _Values(Sequence[Any]):
    """A column as a sequence for single questions."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __getitem__(self, position: Any) -> Any:
        return self._column[position].as_py()

    def __len__(self) -> int:
        return len(self._column)


def rising(keys: pa.ChunkedArray) -> bool:
    """Whether each key is above the last."""
    return pc.all(pc.less(keys[:-1], keys[1:])).as_py() is not False


def at(values: np.ndarray, positions: np.ndarray, nothing: Any) -> np.ndarray:
    """`values` at positions, `nothing` at NONE."""
    return np.append(values, np.array([nothing], values.dtype))[positions]


def each(table: pa.Table, names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a few columns, some thousand in memory at a time."""
    for batch in table.select(list(names)).to_batches(BATCH):
        yield from zip(*batch.to_pydict().values(), strict=True)
