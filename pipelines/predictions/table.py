"""Answers as Parquet, and as CSV whose cells are safe in spreadsheets: one table of frames, one of events."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.predictions.answers import ANSWER
from pipelines.predictions.made_by import Maker
from pipelines.predictions.whole import Whole
from pipelines.spreadsheets import safe

MADE_BY = [("model", pa.string()), ("trained_on", pa.string()), ("recipe", pa.string())]
FRAMES = pa.schema(
    [
        ("file", pa.string()),  # path in the archive, or below the folder
        ("survey", pa.string()),
        ("deployment_id", pa.string()),
        ("media_id", pa.string()),
        ("event_id", pa.string()),  # null = it is in none
        ("captured_at", pa.string()),  # local wall time; null = unknown
        ("crop", pa.string()),  # x,y,width,height of what was looked at; null = all of the frame
        *ANSWER,
        ("refused", pa.string()),  # why the file could not be read; null = it was
        *MADE_BY,
    ]
)
EVENTS = pa.schema(
    [
        ("survey", pa.string()),
        ("deployment_id", pa.string()),
        ("event_id", pa.string()),  # null = a frame that is in none
        ("start", pa.string()),  # local wall time of the first frame; null = unknown
        ("end", pa.string()),
        ("frames", pa.int64()),
        ("file", pa.string()),  # of one frame of it
        *ANSWER,
        *MADE_BY,
    ]
)


class Tables:
    """`frames` and `events`, each .parquet and .csv."""

    def __init__(self, folder: Path, maker: Maker) -> None:
        self._frames = _Table(folder / "frames", FRAMES, maker)
        self._events = _Table(folder / "events", EVENTS, maker)

    def frames(self, rows: pa.Table) -> None:
        self._frames.add(rows)

    def events(self, rows: pa.Table) -> None:
        self._events.add(rows)

    def finish(self) -> list[str]:
        """Closes the files; returns what to tell of them."""
        return [*self._frames.finish(), *self._events.finish()]


class _Table:
    def __init__(self, stem: Path, schema: pa.Schema, maker: Maker) -> None:
        told = {b"xmodal": json.dumps(maker.document, ensure_ascii=False).encode()}
        self._schema, self._made_by = schema, maker.columns
        self._parquet, self._csv = Whole(stem.with_suffix(".parquet")), Whole(stem.with_suffix(".csv"))
        self._writer = pq.ParquetWriter(self._parquet.path, schema.with_metadata(told), compression="zstd")
        self._rows = csv.writer(self._csv.text())
        self._rows.writerow(schema.names)

    def add(self, rows: pa.Table) -> None:
        for name, value in self._made_by.items():
            rows = rows.append_column(name, pa.array([value] * len(rows), pa.string()))
        table = rows.select(self._schema.names).cast(self._schema)
        self._writer.write_table(table)
        self._rows.writerows([safe(value) for value in row.values()] for row in table.to_pylist())

    def finish(self) -> list[str]:
        self._writer.close()
        return [self._parquet.keep(), self._csv.keep()]
