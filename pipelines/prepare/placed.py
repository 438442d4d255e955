"""The readable files as the split sees them, from ledger and metadata, and its word on each put back beside them."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipelines.prepare.assigned import LEDGER_REASONS
from pipelines.prepare.before import Before
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import MANY, NONE, at, mask, rows_at, taken
from pipelines.prepare.ledger import Ledger
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.spill import spilled
from pipelines.prepare.splits import ASSIGNED, Split
from pipelines.prepare.units import PLACED

Codes = dict[str, np.ndarray]
"""Survey to positions in ASSIGNED of its files; NONE for those that are no images."""

HOUR_ONLY = frozenset({"date_only", "hour_back"})
"""Clock flags that doubt the time of day and leave the date good."""


def usable_date(captured_at: str | None, clock_flags: str | None) -> str | None:
    """YYYY-MM-DD of a time whose date can be believed. `clock_flags` as in the ledger: a|b or null."""
    doubts = set(clock_flags.split("|")) if clock_flags else set()
    return captured_at[:10] if captured_at is not None and doubts <= HOUR_ONLY else None


def images(rows: pa.Table) -> np.ndarray:
    """Positions of the readable files among a survey's LEDGER rows, and so in its catalogue."""
    return np.flatnonzero(mask(pc.equal(rows["status"], "ok")))


def placed(listings: Iterable[SurveyListing], ledger: Ledger, before: Before) -> pa.Table:
    """PLACED rows of the ledger's readable files, by survey and key. `before`: the parent's ledger."""
    sorted_by_name = sorted(listings, key=lambda listing: listing.name)
    return spilled((rows for one in sorted_by_name for rows in _of_survey(one, ledger[one.name], before)), PLACED)


def _of_survey(listing: SurveyListing, rows: pa.Table, before: Before) -> Iterator[pa.RecordBatch]:
    places = images(rows)
    for start in range(0, len(places), MANY):
        table = _rows(listing, rows, before, places[start : start + MANY])
        yield from table.combine_chunks().to_batches()


def _rows(listing: SurveyListing, rows: pa.Table, before: Before, places: np.ndarray) -> pa.Table:
    """Of the files at some positions."""
    own = taken(rows.select(["key", "sha256", "clock_flags"]), places)
    named = listing.known.survey.media.select(["place", "event_id", "split", "captured_at"])
    media = taken(named, listing.files.media[places])
    old = before.of(listing.name, listing.files, places, ["status", "reason"])
    known = pc.equal(old["status"], "ok").fill_null(False)
    columns = {
        "survey": pa.repeat(pa.scalar(listing.name), len(own)),
        "key": own["key"],
        "sha256": own["sha256"],
        "places_of": pa.repeat(pa.scalar(listing.settings.place_names), len(own)),
        "place": media["place"],
        "event": media["event_id"],
        "meeting": _meeting(listing, places),
        "day": _days(media["captured_at"], own["clock_flags"]),
        "published": media["split"],
        "labelled": pa.array(listing.known.labelled[places]),
        "known": known,
        "senior": pc.and_(known, old["reason"].is_null()),
    }
    return pa.table(columns, schema=PLACED)


def _meeting(listing: SurveyListing, places: np.ndarray) -> pa.Array:
    """Of the files at some positions, see `kept_events`."""
    meeting = listing.known.meeting
    if meeting is None:
        return pa.nulls(len(places), pa.int32())
    return rows_at(at(meeting, listing.files.media[places], NONE)).cast(pa.int32())


def _days(captured_at: pa.ChunkedArray, clock_flags: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates as `usable_date` has them; there are few different flags."""
    good = [flags for flags in clock_flags.unique().to_pylist() if usable_date("2000-01-01", flags)]
    trusted = pc.is_in(clock_flags, value_set=pa.array(good, pa.string()))
    dates = pc.utf8_slice_codeunits(captured_at, 0, 10)
    return pc.if_else(trusted, dates, pa.scalar(None, pa.string())).cast(pa.date32())


def of_files(ledger: Ledger, splits: Split) -> Codes:
    """What became of every file."""
    found = {survey: np.full(len(rows), NONE, np.int8) for survey, rows in ledger.items()}
    for survey, rows in ledger.items():
        found[survey][images(rows)] = splits.of_survey(survey)
    return found


def left_out(ledger: Ledger, codes: Codes) -> Ledger:
    """The rows with the reason of each that would link two splits, or lies on neither side of a cut in time."""
    told = pa.array([reason if reason in LEDGER_REASONS else None for _, reason in ASSIGNED], pa.string())
    return {survey: _with_reason(rows, told.take(rows_at(codes[survey]))) for survey, rows in ledger.items()}


def _with_reason(rows: pa.Table, reason: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index("reason"), "reason", pc.coalesce(reason, rows["reason"]))
