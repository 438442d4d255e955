"""Dates in digits alone, as `3/4/2019`: whether the day or the month stands first, by all dates of a survey together.

Read one by one, such a date is taken month first. Where others of the survey can only be read day first (`25/12/2019`)
and none only month first, it is read day first as well. Where there are both, nobody can tell: the time is null, as an
unreadable one is, and counted as ambiguous_time. The dates of media and of deployments count alike.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.schema import DATE_ORDERS, Refused


def ordered(schema: pa.Schema) -> pa.Schema:
    """With the column of DATE_ORDERS for each of its dates."""
    dated = [name for name in DATE_ORDERS if name in schema.names]
    return pa.schema([*schema, *(pa.field(DATE_ORDERS[name], pa.string()) for name in dated)])


def settled(media: pa.Table, deployments: pa.Table, refused: Refused) -> tuple[pa.Table, pa.Table]:
    """MEDIA and DEPLOYMENTS, from their rows with the columns of DATE_ORDERS beside them."""
    found = _orders(media) | _orders(deployments)
    return _settled(media, found, "", refused), _settled(deployments, found, "deployment ", refused)


def _orders(table: pa.Table) -> set[str | None]:
    return {order for name in _dated(table) for order in table[DATE_ORDERS[name]].unique().to_pylist()}


def _dated(table: pa.Table) -> list[str]:
    return [name for name, order in DATE_ORDERS.items() if order in table.column_names]


def _settled(table: pa.Table, found: set[str | None], what: str, refused: Refused) -> pa.Table:
    """`what` stands before the ids, which are a table's first column."""
    for name in _dated(table):
        order = table[DATE_ORDERS[name]]
        either = pc.call_function("is_in", [order], pc.SetLookupOptions(pa.array(["either"])))
        table = table.drop_columns([DATE_ORDERS[name]])
        if {"day", "month"} <= found:
            for identity in table.filter(either)[0].to_pylist():
                refused.add("ambiguous_time", f"{what}{identity}")
            table = _with(table, either, name, pa.scalar(None, pa.string()))
            if "time_fault" in table.column_names:
                table = _with(table, either, "time_fault", pa.scalar("unreadable_time"))
        elif "day" in found:
            table = _with(table, either, name, _turned(table[name]))
    return table


def _with(table: pa.Table, where: pa.ChunkedArray, name: str, values: pa.Scalar | pa.ChunkedArray) -> pa.Table:
    """Other values of a column, in some rows."""
    position = table.schema.get_field_index(name)
    values = pc.call_function("if_else", [where, values, table[name]])
    return table.set_column(position, table.schema.field(position), values)


def _turned(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """`YYYY-MM-DD ...` with day and month exchanged."""
    return pc.call_function(
        "replace_substring_regex",
        [times],
        pc.ReplaceSubstringOptions(r"^(\d{4})-(\d\d)-(\d\d)", r"\1-\3-\2"),
    )
