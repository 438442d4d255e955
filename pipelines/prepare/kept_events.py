"""Files that an earlier version held keep their made events, whatever frames come and however the gap is set.

A split goes by events, and its pins name them: where a frame that is added could rename the event of those beside it,
they would be drawn anew. So frames that join an event take its name. Where several old events meet, by a new frame
between them or by a larger gap, they stay apart, and what is new there joins the first of them by name; the split
leaves it out where they stand in several splits.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipelines.prepare.before import Before
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import MANY, NONE, at, mask, rows_at
from pipelines.prepare.events import MADE
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.spill import spilled
from pipelines.prepare.units import coded

NO_EVENT = ""
"""The ledger's event of an image that had none."""
_COLUMN = pa.schema([("event", pa.string())])


def keep_events(listing: SurveyListing, before: Before) -> None:
    """Gives the media of a listing the events that the parent's ledger, `before`, has of their files."""
    if not len(before.rows(listing.name)):
        return
    known, files = listing.known, listing.files.media
    media, was = known.survey.media, np.full(len(known.survey.media), NONE, np.int32)
    names, old = coded(spilled(_of_files(listing, before), _COLUMN)["event"])
    was[files[files != NONE]] = old[files != NONE]
    column, known.meeting = kept(media["event_id"], names, was)
    place = media.schema.get_field_index("event_id")
    survey = replace(known.survey, media=media.set_column(place, media.schema.field(place), column))
    known.metadata = replace(known.metadata, survey=survey)


def _of_files(listing: SurveyListing, before: Before) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(listing.files), MANY):
        positions = np.arange(start, min(start + MANY, len(listing.files)))
        yield from before.of(listing.name, listing.files, positions, _COLUMN.names).combine_chunks().to_batches()


def kept(column: pa.ChunkedArray, names: pa.Array, was: np.ndarray) -> tuple[pa.ChunkedArray, np.ndarray]:
    """(media,) the event of each medium, and int32 (media,) a number for the frames in a row among which several old
    events meet; NONE elsewhere.

    `column` (media,): its event by the archive and the gap. `was` (media,): its old one, a position in `names`; NONE
    where that is not known. What the archive says of events stands.
    """
    events, now = coded(column)
    made = mask(pc.starts_with(events, MADE))
    is_open = at(made, now, True)
    found = np.where(now == NONE, NONE, len(names) + now)
    held = is_open & (was != NONE)
    nothing = pc.index(names, NO_EVENT).as_py()
    found[held] = np.where(was[held] == nothing, NONE, was[held])
    first, last = np.full(len(events), len(names)), np.full(len(events), NONE)
    seen = held & (now != NONE) & (found != NONE)
    np.minimum.at(first, now[seen], was[seen])
    np.maximum.at(last, now[seen], was[seen])
    joins = is_open & (was == NONE) & at(last >= 0, now, False)
    found[joins] = first[now[joins]]
    meeting = np.where(is_open & at((last >= 0) & (first != last), now, False), now, NONE)
    every = pa.concat_arrays([names, events])
    rows = (found[start : start + MANY] for start in range(0, len(found), MANY))
    batches = (pa.record_batch([every.take(rows_at(some))], _COLUMN.names) for some in rows)
    return spilled(batches, _COLUMN)["event"], meeting.astype(np.int32)
