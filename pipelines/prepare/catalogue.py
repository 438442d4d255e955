"""The files of a survey as columns: what was listed, beside the rows of metadata that name the same key.

A file is its position in the order of the keys, in every array of a survey. Nothing of a million files is a Python
object here; the texts lie in a temporary file (spill.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

import numpy as np
import pyarrow as pa

from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import BATCH, MANY, NONE, above, each, mask, taken
from pipelines.prepare.spill import spilled
from pipelines.sources.members import ArchiveEntry, Packed
from pipelines.sources.schema import Survey

PACKED = pa.struct([("span", pa.int64()), ("length", pa.int64()), ("method", pa.int64()), ("crc", pa.int64())])
LISTED = pa.schema(
    [
        ("key", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),  # null = not listed
        ("modified", pa.timestamp("us", "UTC")),
        ("container", pa.string()),
        ("offset", pa.int64()),
        ("packed", PACKED),
        ("reason", pa.string()),
    ]
)
"""ArchiveEntry, field by field."""
Value = TypeVar("Value")


def listed(entries: Iterable[ArchiveEntry]) -> pa.Table:
    """LISTED rows in the order of `entries`, which are never held together."""
    return spilled(_batches(iter(entries)), LISTED)


def _batches(entries: Iterator[ArchiveEntry]) -> Iterator[pa.RecordBatch]:
    while some := list(islice(entries, BATCH)):
        columns = {name: [getattr(entry, name) for entry in some] for name in LISTED.names}
        columns["packed"] = [vars(packed) if packed else None for packed in columns["packed"]]
        yield pa.record_batch(columns, schema=LISTED)


@dataclass(frozen=True)
class Catalogue:
    """The files of a survey, sorted by key: all that are listed, and those that metadata name and the archive lacks.

    Arrays are (files,): `media` and `detection` are the rows of MEDIA and DETECTIONS about each file, NONE for none.
    """

    table: pa.Table
    """LISTED."""
    media: np.ndarray
    detection: np.ndarray

    @classmethod
    def of(cls, entries: pa.Table, survey: Survey) -> "Catalogue":
        """`entries`: LISTED rows in any order; of several of one key the last counts."""
        sources = (survey.media["key"], survey.detections["key"], entries["key"])
        chunks = [chunk for column in sources for chunk in column.chunks]
        keys = pa.chunked_array(chunks, pa.string())
        file = pc.rank(keys, tiebreaker="dense").to_numpy().astype(np.int32)
        file -= 1
        media, detection, entry = (
            _last(own, int(file.max(initial=NONE)) + 1)
            for own in np.split(file, np.cumsum([len(column) for column in sources])[:2])
        )
        known = (media != NONE) | (entry != NONE)
        media, detection, entry = media[known], detection[known], entry[known]

        def rows(start: int) -> pa.RecordBatch:
            table = taken(entries, entry[start : start + MANY])
            named = taken(survey.media.select(["key"]), media[start : start + MANY])
            table = table.set_column(0, "key", pc.coalesce(table["key"], named["key"]))
            return table.combine_chunks().to_batches()[0]

        return cls(spilled(map(rows, range(0, len(entry), MANY)), LISTED), media, detection)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def keys(self) -> pa.ChunkedArray:
        """In rising order, which is that of Python's strings."""
        return self.table["key"]

    @cached_property
    def listed(self) -> np.ndarray:
        """bool (files,)"""
        return mask(self.table["etag"].is_valid())

    def positions(self, keys: Iterable[str]) -> np.ndarray:
        """Those of `keys` that are files, rising."""
        return np.flatnonzero(mask(pc.is_in(self.keys, value_set=pa.array(sorted(keys), pa.string()))))

    def position(self, key: str) -> int:
        """Of one key; NONE where it is no file."""
        place = above(self.keys, key) - 1
        return place if place >= 0 and self.keys[place].as_py() == key else NONE

    def keys_of(self, positions: np.ndarray) -> list[str]:
        """The keys of some files."""
        return taken(self.table.select(["key"]), positions)["key"].to_pylist()

    def marks(self, positions: np.ndarray) -> pa.ChunkedArray:
        """`SIZE ETAG` of files: equal for copies where etags are of the content; null where not listed."""
        rows = taken(self.table.select(["size", "etag"]), positions)
        return pc.binary_join_element_wise(rows["size"].cast(pa.string()), rows["etag"], " ")

    def entries(self, positions: np.ndarray) -> list[ArchiveEntry]:
        """Of listed files."""
        rows = taken(self.table, positions).to_pylist()
        return [ArchiveEntry(**row | {"packed": Packed(**row["packed"]) if row["packed"] else None}) for row in rows]


def _last(file: np.ndarray, files: int) -> np.ndarray:
    """(files,) the last row of each file."""
    found = np.full(files, NONE, np.int32)
    found[file] = np.arange(len(file), dtype=np.int32)
    return found


class ByKey(Mapping[str, Value]):
    """Some files (`among`) as a mapping from their keys: for single questions, since each is a search."""

    def __init__(self, files: Catalogue, among: np.ndarray, value: Callable[[int], Value]) -> None:
        self._files, self._among, self._value = files, among, value

    def __getitem__(self, key: str) -> Value:
        place = self._files.position(key)
        if place == NONE or not self._among[place]:
            raise KeyError(key)
        return self._value(place)

    def __iter__(self) -> Iterator[str]:
        yield from (key for (key,) in each(self._files.table.select(["key"]).filter(pa.array(self._among)), ["key"]))

    def __len__(self) -> int:
        return int(self._among.sum())
