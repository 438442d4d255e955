"""Arrow columns as arrays of numpy and as rows of Python, and positions of which some are none."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

NONE = -1
"""Position of a row that is not there."""
BATCH = 8192
"""Rows that are Python objects at a time."""


def mask(column: Any) -> np.ndarray:
    """bool (rows,) of a column of booleans; null is False."""
    return np.asarray(column.fill_null(False), bool)


def rows_at(positions: np.ndarray) -> pa.Array:
    """Positions to take; NONE takes a row of nulls."""
    return pa.array(positions, pa.int64(), mask=positions == NONE)


def at(values: np.ndarray, positions: np.ndarray, nothing: Any) -> np.ndarray:
    """`values` at positions, `nothing` at NONE."""
    return np.append(values, np.array([nothing], values.dtype))[positions]


def each(table: pa.Table, names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a few columns, some thousand in memory at a time."""
    for batch in table.select(list(names)).to_batches(BATCH):
        yield from zip(*batch.to_pydict().values(), strict=True)
