"""Counts of an Arrow table's rows, and the files that most sections are about."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.report import formats


def counted(table: pa.Table, *names: str) -> Counter[tuple[Any, ...]]:
    """Rows by the values of these columns."""
    grouped = table.group_by(list(names)).aggregate([([], "count_all")])
    return Counter({tuple(row[name] for name in names): row["count_all"] for row in grouped.to_pylist()})


def by(table: pa.Table, name: str) -> Counter[Any]:
    """Rows by the values of one column, nulls among them."""
    return Counter({value: count for (value,), count in counted(table, name).items()})


def taken(rows: pa.Table) -> pa.Table:
    """Those of IMAGES, or of the files among them, that a run would take, as far as listing and ledger tell."""
    return rows.filter(pc.field("reason").is_null())


def percent(part: float, whole: float) -> float:
    """0..100; 0 of nothing is 0."""
    return 100 * part / whole if whole else 0.0


def some(count: int, what: str) -> str:
    """`1 file`, `12 345 files`."""
    return f"{formats.count(count)} {what}{'' if count == 1 else 's'}"
