"""Looks at frames: those of one event that look alike to the model (all show something, or all look empty) and carry
the same label are looked at together. A look is worth the mean of its frames, times the root of how many they are:
frames of one event tell much the same."""

import math
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

import pyarrow as pa

from pipelines.predictions.asked import ASKED, Row
from pipelines.sources.correction_rows import BETWEEN

MOST = 30_000
"""Characters of the names of files in a cell: a spreadsheet takes 32,767."""
BATCH = 4096
LOOKS = pa.schema([*ASKED, ("frames", pa.int64()), ("also", pa.string())])
ORDER: list[tuple[str, str]] = [("worth", "descending"), ("survey", "ascending"), ("file", "ascending")]


def looks(asked: pa.Table) -> pa.Table:
    """LOOKS of ASKED rows, what is worth most first. Each is about the frame that shows best; `also` names others."""
    ordered = asked.sort_by([("alike", "ascending"), ("shows", "descending"), ("file", "ascending")])
    rows = (row for batch in ordered.to_batches(BATCH) for row in batch.to_pylist())
    found = (look for _, frames in groupby(rows, lambda row: row["alike"]) for look in _together(list(frames)))
    return pa.concat_tables([LOOKS.empty_table(), *_tables(found)]).sort_by(ORDER)


def _tables(found: Iterator[Row]) -> Iterator[pa.Table]:
    """Some looks at a time, since rows take more memory than columns."""
    while some := list(islice(found, BATCH)):
        yield pa.Table.from_pylist(some, LOOKS)


def _together(frames: list[Row]) -> Iterator[Row]:
    """One look, or several where their names do not fit into a cell or cannot stand in a list. Crops are one frame."""
    own: dict[str, Row] = {}
    for row in frames:
        own.setdefault(row["file"], row)
    apart = {file for file in own if BETWEEN in file or file != file.strip()}
    yield from (_look([own[file]]) for file in own if file in apart)
    yield from map(_look, _cut(row for file, row in own.items() if file not in apart))


def _cut(frames: Iterable[Row]) -> Iterator[list[Row]]:
    some: list[Row] = []
    size = 0
    for row in frames:
        size += len(row["file"]) + len(BETWEEN) + 2
        if some and size > MOST:
            yield some
            some, size = [], len(row["file"])
        some.append(row)
    if some:
        yield some


def _look(frames: list[Row]) -> Row:
    first, *others = frames
    worth = sum(row["worth"] for row in frames) / len(frames) * math.sqrt(len(frames))
    also = f" {BETWEEN} ".join(row["file"] for row in others)
    return first | {"worth": worth, "frames": len(frames), "also": also or None}
