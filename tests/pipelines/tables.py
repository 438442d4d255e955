"""MEDIA and DEPLOYMENTS tables for tests, of columns given; and a camera's wall times counted from a first one."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from pipelines.sources.rows import Rows
from pipelines.sources.schema import DEPLOYMENTS, DETECTIONS, MEDIA, OBSERVATIONS, Refused, Survey


def table(schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """The other columns are null."""
    rows = Rows(schema)
    for values in zip(*columns.values(), strict=True):
        rows.add(**dict(zip(columns, values, strict=True)))
    return rows.table()


def survey(media: Mapping[str, Sequence[Any]], deployments: Mapping[str, Sequence[Any]] | None = None) -> Survey:
    """A survey of media alone, each named by its key."""
    rows = table(MEDIA, {"media_id": media["key"], **media})
    nothing = (OBSERVATIONS.empty_table(), DETECTIONS.empty_table(), Refused())
    return Survey(rows, *nothing, deployments=table(DEPLOYMENTS, deployments or {}))


def walls(first: str, seconds: Iterable[float]) -> list[str]:
    """Wall times `seconds` after `first`."""
    return [str(datetime.fromisoformat(first) + timedelta(seconds=one)) for one in seconds]


def keys(camera: str, count: int, first: int = 1) -> list[str]:
    """File names as a camera counts them."""
    return [f"{camera}/IMG_{number:04d}.JPG" for number in range(first, first + count)]
