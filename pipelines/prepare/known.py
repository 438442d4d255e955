"""What a survey's metadata say of its files."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.prepare.cameras import pc
from pipelines.prepare.catalogue import Catalogue
from pipelines.prepare.columns import MANY, NONE, at, mask, taken
from pipelines.prepare.digests import digest
from pipelines.prepare.facts import Medium
from pipelines.prepare.metadata import Metadata
from pipelines.prepare.precedence import TYPES
from pipelines.prepare.spill import spilled
from pipelines.sources.schema import Survey

Row = dict[str, Any]
_SIZE = ["width", "height"]
_LABEL = pc.field("type").isin(TYPES)
"""Observations that say what a frame shows."""


@dataclass
class Known:
    """A survey's tables beside its files."""

    metadata: Metadata
    files: Catalogue
    meeting: np.ndarray | None = None
    """int32 (media,) as `kept_events.kept` has it; None where no earlier version is kept to."""

    @property
    def survey(self) -> Survey:
        return self.metadata.survey

    @cached_property
    def media_ids(self) -> pa.ChunkedArray:
        """(files,) the archive's own ids; of files that no metadata name, their keys, or a name made of the key where
        that is some medium's id."""
        named, rows = self.survey.media.select(["media_id"]), self.files.media

        def ids(start: int) -> pa.RecordBatch:
            own, keys = taken(named, rows[start : start + MANY]), self.files.keys.slice(start, MANY)
            table = pa.table({"media_id": pc.coalesce(own["media_id"], _apart(keys, self.homonyms[start:][:MANY]))})
            return table.combine_chunks().to_batches()[0]

        return spilled(map(ids, range(0, len(rows), MANY)), pa.schema([("media_id", pa.string())]))["media_id"]

    @cached_property
    def homonyms(self) -> np.ndarray:
        """bool (files,): those that no metadata name and whose key is some medium's id."""
        found = self.files.media == NONE
        keys, ids = self.files.keys.filter(pa.array(found)), self.survey.media["media_id"]
        if len(keys) < len(ids):  # the smaller side is the one that is hashed
            ids = ids.filter(pc.is_in(ids, value_set=keys))
        found[found] = mask(pc.is_in(keys, value_set=ids))
        return found

    def ids_of(self, positions: np.ndarray) -> list[str]:
        """The ids of some files."""
        return taken(pa.table({"media_id": self.media_ids}), positions)["media_id"].to_pylist()

    def media(self, positions: np.ndarray) -> dict[str, Medium]:
        """What is known of each of the files, by key."""
        keys = self.files.keys_of(positions)
        columns = self.survey.media.drop_columns(_SIZE)  # of which no record is made: records keep their ids
        rows = taken(columns, self.files.media[positions]).to_pylist()
        for place in np.flatnonzero(self.homonyms[positions]).tolist():
            rows[place]["media_id"] = unnamed_id(keys[place])
        boxes = taken(self.survey.detections, self.files.detection[positions]).to_pylist()
        seen = self._observed(self.files.media[positions])
        return {
            key: Medium(_named(row), own, _named(box))
            for key, row, own, box in zip(keys, rows, seen, boxes, strict=True)
        }

    def sizes(self, positions: np.ndarray) -> list[tuple[int, int] | None]:
        """Width and height of some files as the metadata state them."""
        rows = taken(self.survey.media.select(_SIZE), self.files.media[positions]).to_pydict()
        return [(width, height) if width and height else None for width, height in zip(*rows.values(), strict=True)]

    def _observed(self, media: np.ndarray) -> list[list[Row]]:
        """The observations of rows of MEDIA."""
        spans = taken(self.metadata.beside.select(["begin", "end"]), media)
        starts, last = (spans[name].fill_null(0).to_numpy().astype(int) for name in ("begin", "end"))
        counts = last - starts
        ends = np.cumsum(counts)
        every = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
        rows = taken(self.metadata.observed, every).to_pylist()
        return [rows[last - count : last] for last, count in zip(ends.tolist(), counts.tolist(), strict=True)]

    @cached_property
    def labelled(self) -> np.ndarray:
        """bool (files,): whether a label or caption could give a text."""
        return self._of_files(self._media_of(pc.field("caption").is_valid() | _LABEL))

    @cached_property
    def undetected(self) -> np.ndarray:
        """bool (files,): whether only a label of its event names it, and no detector ran on it."""
        of_event = pc.field("caption").is_null() & (pc.field("level") == "event") & (pc.field("type") == "animal")
        of_frame = pc.field("caption").is_valid() | ((pc.field("level") == "media") & _LABEL)
        found = self._media_of(of_event) & ~self._media_of(of_frame)
        return self._of_files(found) & (self.files.detection == NONE)

    def _media_of(self, which: Any) -> np.ndarray:
        """bool (media,): whether an observation for which `which` holds is about it."""
        table = self.metadata.observed.select(["caption", "level", "type"])
        before = np.zeros(len(table) + 1, np.int32)
        for start in range(0, len(table), MANY):
            some = table.slice(start, MANY)
            some = some.append_column("row", pa.array(np.arange(start, start + len(some))))
            before[some.filter(which)["row"].to_numpy() + 1] = 1
        np.cumsum(before, out=before)
        begin, end = (self.metadata.beside[name].to_numpy() for name in ("begin", "end"))
        return before[end] > before[begin]

    def _of_files(self, media: np.ndarray) -> np.ndarray:
        """A mask over MEDIA as one over the files."""
        return at(media, self.files.media, False)


def unnamed_id(key: str) -> str:
    """The id of a file that no metadata name, where its key is the id of another one."""
    return f"{digest('unnamed', key)[:16]} {key}"


def _apart(keys: pa.ChunkedArray, homonyms: np.ndarray) -> pa.ChunkedArray:
    """The keys, but for those that are ids of media."""
    if not homonyms.any():
        return keys
    ids = [unnamed_id(key) if taken else key for key, taken in zip(keys.to_pylist(), homonyms, strict=True)]
    return pa.chunked_array([ids], pa.string())


def _named(row: Row) -> Row | None:
    """None for the row of nothing, which is all null."""
    return row if any(value is not None for value in row.values()) else None


def marked(survey: Survey, keys: Iterable[str]) -> np.ndarray:
    """bool (media,): whether its key is one of `keys`."""
    return mask(pc.is_in(survey.media["key"], value_set=pa.array(sorted(keys), pa.string())))
