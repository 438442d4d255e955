"""Tables of metadata as Arrow, every column as text: CSV, gzipped CSV and Parquet, told by their names."""

import codecs

import pyarrow as pa
import pyarrow.compute as pc

from infra.parquet import read_parquet
from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.reading import MISSING, read_csv, text_stream
from pipelines.sources.schema import Refused

ENDINGS = (".csv", ".csv.gz", ".parquet")


def read_table(
    store: Store,
    key: str,
    refused: Refused,
    encoding: str = "utf-8",
    delimiter: str = ",",
    needed: tuple[str, ...] = (),
) -> pa.Table:
    """A table with MISSING as null. Raises DataRefused where it cannot be read or lacks one of the columns `needed`.

    A CSV that is said to be UTF-8 and is not is read as Latin-1 and counted as latin1_file; a row with too many or too
    few cells is counted as ragged_row.
    """
    if key.lower().endswith(".parquet"):
        table = _read_parquet(store, key)
    elif encoding.lower() in ("utf-8", "utf8") and not _is_utf8(store, key):
        refused.add("latin1_file", key)
        table = read_csv(store, key, "latin-1", delimiter, refused)
    else:
        table = read_csv(store, key, encoding, delimiter, refused)
    for column in needed:
        if table.column_names.count(column) != 1:
            fault = "has two columns" if column in table.column_names else "lacks the column"
            raise DataRefused(f"{store.url}/{key}: the table {fault} {column!r}")
    return table


def columns_of(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    """The columns `names` alone, of several of one name the last; those that the table lacks are all null."""
    stated = dict(zip(table.column_names, table.columns, strict=True))
    absent = pa.nulls(table.num_rows, pa.string())
    return pa.table({name: stated.get(name, absent) for name in names})


def _is_utf8(store: Store, key: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with store.open(key) as file, text_stream(file, key) as stream:
        try:
            while chunk := stream.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        except (pa.ArrowException, OSError) as error:
            raise DataRefused(f"{store.url}/{key}: not readable ({' '.join(str(error).split())})") from None
    return True


def _read_parquet(store: Store, key: str) -> pa.Table:
    """Columns of any flat type as text, times in ISO 8601; nested and binary columns are left out."""
    try:
        table = read_parquet(store.read(key))
        flat = [position for position, field in enumerate(table.schema) if _is_flat(field.type)]
        columns = [_as_text(table.column(position)) for position in flat]
    except pa.ArrowException as error:
        raise DataRefused(f"{store.url}/{key}: not a readable Parquet table ({' '.join(str(error).split())})") from None
    return pa.table(columns, [table.column_names[position] for position in flat])


def _is_flat(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A time in UTC, which is how Parquet keeps those with a zone, ends in Z."""
    text = column.cast(pa.string())
    missing = pc.call_function("is_in", [text], pc.SetLookupOptions(pa.array(MISSING)))
    return pc.call_function("if_else", [missing, pa.scalar(None, pa.string()), text])
