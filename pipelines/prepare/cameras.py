"""Which camera took each medium, what its clock showed, and where the file stands in its card's numbering.

All of it as columns over the rows of MEDIA, so that an archive of millions of frames takes seconds. A camera is a
deployment; without one a place; without that the file's folder.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipelines.sources.schema import Survey

pc: Any = pyarrow.compute
"""Its functions are made when it is imported: type checkers see none of them."""
WALL = "%Y-%m-%d %H:%M:%S"
_FOLDER = r"[^/]*$"
_NUMBERED = r"^(?P<stem>|.*[^0-9])(?P<number>[0-9]{1,9})(?P<rest>[^0-9/]*)$"
"""The last digits of a file's name. More than nine are a date or a hash and count nothing."""


def names(media: pa.Table) -> pa.ChunkedArray:
    """A name for the camera of each row: equal for rows of one camera, different for all others of the survey."""
    folders = pc.replace_substring_regex(media["key"], _FOLDER, "")
    kinds = {"deployment": media["deployment_id"], "place": media["place"], "folder": folders}
    return pc.coalesce(*(pc.binary_join_element_wise(kind, column, "\n") for kind, column in kinds.items()))


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64 (rows,): the values numbered from 0 in the order they are met; -1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def seconds(column: pa.ChunkedArray) -> np.ndarray:
    """float64 (rows,): wall times as seconds of an unnamed zone since 1970; NaN where there is none."""
    moments = pc.strptime(column, format=WALL, unit="s", error_is_null=True).cast(pa.int64()).cast(pa.float64())
    return moments.fill_null(np.nan).to_numpy()


def labels(survey: Survey) -> np.ndarray:
    """int64 (rows,): a number for the label of each medium's first observation; -1 for none."""
    table = survey.observations
    first = pc.index_in(survey.media["media_id"], value_set=table["media_id"], skip_nulls=True)
    return codes(table["label"].take(first))


@dataclass(frozen=True)
class Numbered:
    """The rows whose files a camera numbered, in that order: `rows` (n,) positions in the table, `chain` (n,) the
    sequence of each, rising from 0."""

    rows: np.ndarray
    chain: np.ndarray


def numbered(media: pa.Table, camera: np.ndarray, usable: np.ndarray, widest: int) -> Numbered:
    """The `usable` rows by camera, folder, name and number. A sequence ends where more than `widest` numbers lack: a
    counter that began again, or another card."""
    parts = pc.extract_regex(media["key"], _NUMBERED)
    number = pc.fill_null(pc.cast(pc.struct_field(parts, "number"), pa.int64()), -1).to_numpy()
    stem = codes(pc.struct_field(parts, "stem"))
    known = usable & (number >= 0)
    rows = np.flatnonzero(known)
    rows = rows[np.lexsort((number[rows], stem[rows], camera[rows]))]
    same = (np.diff(camera[rows]) == 0) & (np.diff(stem[rows]) == 0) & (np.diff(number[rows]) <= widest)
    return Numbered(rows, np.r_[0, np.cumsum(~same)][: len(rows)])
