"""The readable files as the split sees them, from ledger and metadata."""

from collections.abc import Iterable

import pyarrow as pa

from pipelines.prepare.ledger import Row
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.plan import Before
from pipelines.prepare.units import PLACED

UNKNOWN: Row = {"status": None, "reason": None}
"""Of a file that the parent did not hold."""
HOUR_ONLY = frozenset({"date_only", "hour_back"})
"""Clock flags that doubt the time of day and leave the date good."""


def usable_date(captured_at: str | None, clock_flags: str | None) -> str | None:
    """YYYY-MM-DD of a time whose date can be believed. `clock_flags` as in the ledger: a|b or null."""
    doubts = set(clock_flags.split("|")) if clock_flags else set()
    return captured_at[:10] if captured_at is not None and doubts <= HOUR_ONLY else None


def placed(listings: Iterable[SurveyListing], rows: list[Row], before: Before) -> pa.Table:
    """PLACED rows of the ledger's readable files. `before`: the parent's ledger."""
    by_survey: dict[str, list[Row]] = {}
    for row in rows:
        if row["status"] == "ok":
            by_survey.setdefault(row["survey"], []).append(row)
    tables = [_of_survey(listing, by_survey.get(listing.name, []), before) for listing in listings]
    return pa.concat_tables([PLACED.empty_table(), *tables])


def _of_survey(listing: SurveyListing, rows: list[Row], before: Before) -> pa.Table:
    keys = [row["key"] for row in rows]
    position = pa.array([listing.known.row_of.get(key) for key in keys], pa.int64())
    media = listing.known.survey.media.select(["place", "event_id", "split", "captured_at"]).take(position)
    flags = [row["clock_flags"] for row in rows]
    dates = map(usable_date, media["captured_at"].to_pylist(), flags)
    old = [before.get((row["survey"], row["key"]), UNKNOWN) for row in rows]
    known = [row["status"] == "ok" for row in old]
    columns = {
        "survey": pa.array([listing.name] * len(rows), pa.string()),
        "key": pa.array(keys, pa.string()),
        "sha256": pa.array([row["sha256"] for row in rows], pa.binary(32)),
        "places_of": pa.array([listing.settings.place_names] * len(rows), pa.string()),
        "place": media["place"],
        "event": media["event_id"],
        "day": pa.array(dates, pa.string()).cast(pa.date32()),
        "published": media["split"],
        "labelled": pa.array([key in listing.known.labelled for key in keys], pa.bool_()),
        "known": pa.array(known, pa.bool_()),
        "senior": pa.array([row["status"] == "ok" and row["reason"] is None for row in old], pa.bool_()),
    }
    return pa.table(columns, schema=PLACED)
