"""The events of the images that are asked about, and one answer to each from all its frames.

An event is the archive's own or the one that `prepare` made; of bare files it is made here, by the same rule. Frames of
an event may lie in several parts: it is answered when its last frame has been read, so that only open ones are held.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.predictions.ladder import Array
from pipelines.predictions.vectors import Vectors
from pipelines.prepare import cameras
from pipelines.prepare.events import with_events
from pipelines.sources.schema import MEDIA
from xmodal.metrics.pooling import shared_out

GAP = 60.0
"""Seconds between two frames from which a new event begins; the default of `data.event_gap`."""
_READ = ("survey", "key", "media_id", "deployment_id", "event_id", "captured_at", "utc_offset")


@dataclass(frozen=True)
class Events:
    """Which event each row of the vectors is of, and what is known of the events."""

    of_row: NDArray[np.int64]
    """(N,) positions in `about`."""
    about: pa.Table
    """(E,) survey, deployment_id, event_id (null = a frame that is in none), start and end (local wall times, null =
    unknown), utc_offset, frames, and media_id and file of its first row."""

    @classmethod
    def of(cls, vectors: Vectors) -> "Events":
        known = pa.concat_tables(vectors.columns(_READ)).combine_chunks()
        names = _named(known)
        code, first = _codes(known["survey"], names)
        start, end = _spans(code, len(first), cameras.seconds(known["captured_at"]))
        about = known.select(["survey", "deployment_id", "utc_offset", "media_id", "key"]).take(pa.array(first))
        about = about.rename_columns(["survey", "deployment_id", "utc_offset", "media_id", "file"])
        more = {"event_id": names.take(pa.array(first)), "start": start, "end": end,
                "frames": pa.array(np.bincount(code, minlength=len(first)))}  # fmt: skip
        for name, column in more.items():
            about = about.append_column(name, column)
        return cls(code, about.combine_chunks())

    @cached_property
    def frames(self) -> NDArray[np.int64]:
        """(E,) how many rows each has."""
        return self.about["frames"].to_numpy()

    def of_part(self, begin: int, count: int) -> pa.Table:
        """event_id, start and end of some rows."""
        return self.about.select(["event_id", "start", "end"]).take(pa.array(self.of_row[begin : begin + count]))


def _spans(code: NDArray[np.int64], count: int, seconds: Array) -> tuple[pa.Array, pa.Array]:
    """Wall times of the first and last frame of each event."""
    start, end = np.full(count, np.inf), np.full(count, -np.inf)
    timed = ~np.isnan(seconds)
    np.minimum.at(start, code[timed], seconds[timed])
    np.maximum.at(end, code[timed], seconds[timed])
    return _wall(start), _wall(end)


def _wall(seconds: Array) -> pa.Array:
    known = np.isfinite(seconds)
    moments = pa.array(np.where(known, seconds, 0).astype(np.int64), mask=~known).cast(pa.timestamp("s"))
    return cameras.pc.strftime(moments, format=cameras.WALL)


def _named(known: pa.Table) -> pa.ChunkedArray:
    """An event's name a row; null where none is known and no time tells."""
    if known["event_id"].null_count == 0 or known["captured_at"].null_count == len(known):
        return known["event_id"]
    absent = pa.nulls(len(known))
    media = [known[field.name] if field.name in known.column_names else absent.cast(field.type) for field in MEDIA]
    return with_events(pa.table(media, schema=MEDIA), GAP)["event_id"]


def _codes(survey: pa.ChunkedArray, names: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) a number for the event of each row, and (E,) the first row of each; a row without one is one."""
    pc = cameras.pc
    whole = pc.binary_join_element_wise(survey, names, "\0")
    own = pc.binary_join_element_wise("row", pa.array(range(len(names))).cast(pa.string()), "\0\0")
    encoded = pc.coalesce(whole, own).combine_chunks().dictionary_encode()
    code = encoded.indices.to_numpy().astype(np.int64)
    return code, np.unique(code, return_index=True)[1]


class Pool:
    """Adds frames part by part and gives the events that are whole, as `pooling.present` makes them of all frames."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._open: dict[int, tuple[Array, int]] = {}
        """Event to its sums so far (the last one is the least empty frame) and the frames met."""

    def add(
        self, begin: int, count: int, rows: NDArray[np.int64], probabilities: Array
    ) -> tuple[NDArray[np.int64], Array]:
        """The (E,) events whose last frame lies in a part, and their probabilities (E, C + 1). One of whose frames none
        could be read has no answer.

        The part has `count` rows from row `begin` on; `rows` of them were read and have `probabilities` (n, C + 1).
        """
        codes, met = np.unique(self._events.of_row[begin : begin + count], return_counts=True)
        at = np.searchsorted(codes, self._events.of_row[begin + rows])
        sums = np.zeros((len(codes), probabilities.shape[1]))
        np.add.at(sums[:, :-1], at, probabilities[:, :-1])
        sums[:, -1] = np.inf
        np.minimum.at(sums[:, -1], at, probabilities[:, -1])
        whole = [n for n, code in enumerate(codes.tolist()) if self._whole(code, sums[n], int(met[n]))]
        kept = [n for n in whole if np.isfinite(sums[n, -1])]
        return codes[kept], shared_out(sums[kept, :-1], sums[kept, -1])

    def _whole(self, code: int, sums: Array, met: int) -> bool:
        """Adds what was met of an event before to `sums`; whether it is whole now, else it is kept for later."""
        earlier, seen = self._open.pop(code, (None, 0))
        if earlier is not None:
            sums[:-1] += earlier[:-1]
            sums[-1] = min(sums[-1], earlier[-1])
        if met + seen == self._events.frames[code]:
            return True
        self._open[code] = sums.copy(), met + seen
        return False
