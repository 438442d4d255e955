"""Dates in digits alone, as `3/4/2019`: whether the day or the month stands first, by all dates of a survey together.

Read one by one, such a date is taken month first. Where others of the survey can only be read day first (`25/12/2019`)
and none only month first, it is read day first as well. Where there are both, nobody can tell: the time is null, as an
unreadable one is, and counted as ambiguous_time.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.schema import DATE_ORDER, Refused


def settled(media: pa.Table, refused: Refused) -> pa.Table:
    """MEDIA, from its rows with the column DATE_ORDER beside them."""
    order = media[DATE_ORDER]
    media, found = media.drop_columns([DATE_ORDER]), set(order.unique().to_pylist())
    if not {"day", "either"} <= found:
        return media
    either = pc.call_function("coalesce", [pc.call_function("equal", [order, pa.scalar("either")]), pa.scalar(False)])
    if "month" not in found:
        return _with(media, either, captured_at=_turned(media["captured_at"]))
    for media_id in media.filter(either)["media_id"].to_pylist():
        refused.add("ambiguous_time", media_id)
    return _with(media, either, captured_at=pa.scalar(None, pa.string()), time_fault=pa.scalar("unreadable_time"))


def _with(media: pa.Table, where: pa.ChunkedArray, **columns: pa.Scalar | pa.ChunkedArray) -> pa.Table:
    """Other values of some columns, in some rows."""
    for name, values in columns.items():
        position = media.schema.get_field_index(name)
        values = pc.call_function("if_else", [where, values, media[name]])
        media = media.set_column(position, media.schema.field(position), values)
    return media


def _turned(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """`YYYY-MM-DD ...` with day and month exchanged."""
    return pc.call_function(
        "replace_substring_regex",
        [times],
        pc.ReplaceSubstringOptions(r"^(\d{4})-(\d\d)-(\d\d)", r"\1-\3-\2"),
    )
