"""What follows from a survey's metadata alone, beside each medium: its observations, and what its camera's clock says.

It is worked out where the metadata are read, which takes memory in proportion to them as well (reading.py).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.prepare import cameras, clocks
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import NONE
from pipelines.sources.schema import Survey

BESIDE = pa.schema(
    [
        ("begin", pa.int32()),  # where the medium's observations begin in `observed`
        ("end", pa.int32()),
        ("camera", pa.int32()),
        ("seconds", pa.float64()),  # wall time; NaN = unknown
        ("doubts", pa.int32()),  # clocks.bits of what the metadata alone tell
    ]
)


@dataclass(frozen=True)
class Metadata:
    """All that was read of a survey."""

    survey: Survey
    observed: pa.Table
    """OBSERVATIONS in the order of MEDIA, those of no medium first."""
    beside: pa.Table
    """BESIDE of each row of MEDIA."""
    keys: frozenset[str]
    """Of the files that were read for it."""


def worked_out(survey: Survey, keys: frozenset[str]) -> Metadata:
    """With what follows from the survey's tables."""
    ids = survey.media["media_id"]
    first = pc.index_in(ids, value_set=ids).to_numpy()  # of several media of one id
    about = pc.index_in(survey.observations["media_id"], value_set=ids).fill_null(NONE).to_numpy()
    order = np.argsort(about, kind="stable")
    begin, end = (np.searchsorted(about[order], first, side) for side in ("left", "right"))
    camera, seconds = cameras.codes(cameras.names(survey.media)), cameras.seconds(survey.media["captured_at"])
    columns = [begin, end, camera, seconds, clocks.bits(clocks.check(survey), len(ids))]
    beside = pa.table([pa.array(values) for values in columns], BESIDE.names).cast(BESIDE)
    return Metadata(survey, survey.observations.take(pa.array(order)), beside, keys)
