"""The event of each medium: the archive's own, else made of frames that one camera took in a row.

A new event begins where more than `gap` seconds pass between two frames of a camera, in the order of time and, since
bursts of some cameras (Reconyx) share a second, of file names. 60 s is what MegaDetector's `create_sequences` takes for
a burst; ecologists ask for 30 to 60 minutes between events that they call independent, which is another question: here
frames are to be kept together that show the same animal before the same background.

A made event is called `gap:` and a hash of its camera and first file, so it keeps its name whatever is added elsewhere.
What a later version adds to it takes the name that it had (`kept_events`).
"""

import numpy as np
import pyarrow as pa

from pipelines.prepare import cameras
from pipelines.prepare.clocks import date_only
from pipelines.prepare.digests import digest

MADE = "gap:"
"""What the names of made events begin with."""


def with_events(media: pa.Table, gap: float) -> pa.Table:
    """MEDIA with an event at every frame that has a time of day; those of the archive stay as they are.

    A clock set to a wrong year still orders its frames, so the times that are shown and not believed count as well.
    Dates without times do not.
    """
    names = cameras.names(media)
    camera, believed = cameras.codes(names), cameras.seconds(media["captured_at"])
    times = np.where(np.isnan(believed), cameras.seconds(media["time_shown"]), believed)
    open_rows = media["event_id"].is_null().to_numpy() & ~np.isnan(times) & ~date_only(camera, times)
    rows = np.flatnonzero(open_rows)
    order = pa.table(
        {"camera": camera[rows], "time": times[rows], "key": media["key"].take(pa.array(rows)), "row": rows}
    )
    rows = order.sort_by([(name, "ascending") for name in ("camera", "time", "key")])["row"].to_numpy()
    begins = np.ones(len(rows), bool)
    begins[1:] = (np.diff(camera[rows]) != 0) | (np.diff(times[rows]) > gap)
    events = np.array(media["event_id"].to_pylist(), dtype=object)
    events[rows] = _names(media, names, rows[begins])[np.cumsum(begins) - 1]
    position = media.schema.get_field_index("event_id")
    return media.set_column(position, media.schema.field(position), pa.array(events, pa.string()))


def _names(media: pa.Table, cameras_of: pa.ChunkedArray, firsts: np.ndarray) -> np.ndarray:
    """object (events,): the name of each event by its first row."""
    rows = pa.array(firsts)
    pairs = zip(cameras_of.take(rows).to_pylist(), media["key"].take(rows).to_pylist(), strict=True)
    return np.array([MADE + digest("event", camera, key)[:16] for camera, key in pairs], dtype=object)
