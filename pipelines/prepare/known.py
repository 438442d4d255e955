"""What a survey's metadata say of its files."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.prepare.cameras import pc
from pipelines.prepare.catalogue import Catalogue
from pipelines.prepare.columns import NONE, at, mask, rows_at
from pipelines.prepare.facts import Medium
from pipelines.prepare.precedence import TYPES
from pipelines.prepare.spill import mapped
from pipelines.sources.schema import Survey

Row = dict[str, Any]
_LABEL = pc.field("type").isin(TYPES)
"""Observations that say what a frame shows."""


@dataclass
class Known:
    """A survey's tables beside its files."""

    survey: Survey
    files: Catalogue

    @cached_property
    def media_ids(self) -> pa.ChunkedArray:
        """(files,) the archive's own ids; of files that no metadata name, their keys."""
        named = self.survey.media["media_id"].take(rows_at(self.files.media))
        ids = pc.coalesce(named, self.files.keys)
        return mapped(pa.table({"media_id": ids}))["media_id"]

    @cached_property
    def _observations(self) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        """Observations in the order of MEDIA, and where each medium's begin and end, (media,)."""
        ids, table = self.survey.media["media_id"], self.survey.observations
        first = pc.index_in(ids, value_set=ids).to_numpy()  # of several media of one id
        about = pc.index_in(table["media_id"], value_set=ids).fill_null(NONE).to_numpy()
        order = np.argsort(about, kind="stable")
        begin, end = (np.searchsorted(about[order], first, side) for side in ("left", "right"))
        return mapped(table.take(pa.array(order))), begin, end

    def media(self, positions: np.ndarray) -> dict[str, Medium]:
        """What is known of each of the files, by key."""
        keys = self.files.keys.take(pa.array(positions)).to_pylist()
        rows = self.survey.media.take(rows_at(self.files.media[positions])).to_pylist()
        boxes = self.survey.detections.take(rows_at(self.files.detection[positions])).to_pylist()
        seen = self._observed(self.files.media[positions])
        return {
            key: Medium(_named(row), own, _named(box))
            for key, row, own, box in zip(keys, rows, seen, boxes, strict=True)
        }

    def _observed(self, media: np.ndarray) -> list[list[Row]]:
        """The observations of rows of MEDIA."""
        table, begin, end = self._observations
        named = media != NONE
        starts, counts = np.zeros(len(media), int), np.zeros(len(media), int)
        starts[named], counts[named] = begin[media[named]], (end - begin)[media[named]]
        ends = np.cumsum(counts)
        every = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
        rows = table.take(pa.array(every, pa.int64())).to_pylist()
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
        columns = self.survey.observations.select(["media_id", "caption", "level", "type"])
        about = columns.filter(which)["media_id"]
        return mask(pc.is_in(self.survey.media["media_id"], value_set=about))

    def _of_files(self, media: np.ndarray) -> np.ndarray:
        """A mask over MEDIA as one over the files."""
        return at(media, self.files.media, False)


def _named(row: Row) -> Row | None:
    """None for the row of nothing, which is all null."""
    return row if any(value is not None for value in row.values()) else None


def marked(survey: Survey, keys: Iterable[str]) -> np.ndarray:
    """bool (media,): whether its key is one of `keys`."""
    return mask(pc.is_in(survey.media["key"], value_set=pa.array(sorted(keys), pa.string())))
