"""The stored tables, column by column, and how a table becomes an immutable part named by its content.

A part's name is ITEM-SHA16: what it is made of, and the first digits of its bytes' SHA-256. Equal tables give equal
bytes with the same pyarrow.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.storage import Store
from pipelines.prepare.columns import MANY
from pipelines.prepare.spill import give_back

GROUP_ROWS = 128
"""Rows of a Parquet row group."""
WHOLE_ROWS = 1024
"""The same of a part that is never read by rows. While it is written its footer stands in memory, 280 bytes a row with
groups of 128."""
COPIED = 1 << 20
"""Bytes of a part that are copied at a time."""

PIXELS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("key", pa.string()),  # path in the survey's archive
        ("image", pa.binary()),  # JPEG without EXIF
        ("width", pa.int32()),  # of the original file, after the EXIF turn
        ("height", pa.int32()),
        ("infrared", pa.bool_()),  # measured from the pixels
        ("source_sha256", pa.binary(32)),  # of the original file
        (
            "crop",
            pa.string(),
        ),  # x,y,width,height of the box it was cut around; null = all of the frame
    ]
)

RECORDS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("media_id", pa.string()),
        ("event_id", pa.string()),
        ("deployment_id", pa.string()),
        ("survey", pa.string()),
        ("place", pa.string()),  # hash of survey and place; null = unknown
        ("split", pa.string()),  # train | val | test | cis_val | cis_test | none
        ("split_reason", pa.string()),  # why none
        ("captured_at", pa.string()),  # local wall time
        ("utc_offset", pa.int32()),  # seconds east; null = unknown
        ("clock_trusted", pa.bool_()),
        ("taxon", pa.string()),
        ("taxon_rank", pa.string()),
        ("codes", pa.binary()),  # int32 (A,), attribute codes, -1 = unspecified
        ("captions", pa.binary()),  # UTF-8 JSON [{"text", "language", "name_source", "codes": [int] | null}]
        ("facts", pa.binary()),  # UTF-8 JSON {name: {"value", "source", ...}}
        ("n_boxes", pa.int32()),  # null = not run through a detector, 0 = nothing found
        ("boxes", pa.binary()),  # float32 (n, 4): x, y, width, height relative to the stored image
        ("box_conf", pa.binary()),  # float32 (n,)
        ("box_class", pa.binary()),  # int32 (n,): position in BOX_CLASSES, -1 = other
        ("box_taxon", pa.binary()),  # UTF-8 JSON (n,): what a classifier says of each; null = boxes carry no taxon
        ("licence", pa.string()),
        ("rights_holder", pa.string()),
        ("incumbents", pa.binary()),  # UTF-8 JSON, what machines said: see pipelines/prepare/incumbents.py; null = none
        ("crop", pa.string()),  # as the pixels have it
    ]
)
BOX_CLASSES = ("animal", "human", "vehicle")


def boxes_of(row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a RECORDS row on which a detector ran: (n, 4) float64 boxes, (n,) float32 confidences, (n,) int32 classes."""
    boxes = np.frombuffer(row["boxes"], "<f4").reshape(-1, 4).astype(np.float64)
    return boxes, np.frombuffer(row["box_conf"], "<f4"), np.frombuffer(row["box_class"], "<i4")


LEDGER = pa.schema(
    [
        ("survey", pa.string()),
        ("key", pa.string()),
        ("etag", pa.string()),  # opaque; null = not listed
        ("version_id", pa.string()),  # always null: a listing tells no versions of objects
        ("size", pa.int64()),  # bytes; null = not listed
        ("last_modified", pa.timestamp("us", "UTC")),
        ("seen_at", pa.timestamp("us", "UTC")),  # when the row last changed
        ("sha256", pa.binary(32)),  # of the bytes, where they were read
        ("status", pa.string()),  # ok | rejected | withdrawn | gone
        ("reason", pa.string()),
        ("media_id", pa.string()),
        ("item", pa.string()),  # the item it was read in
        ("fingerprint", pa.string()),  # of the pixel settings it was read with
        ("prepare_id", pa.string()),  # of the run that last changed the row
        ("magic", pa.string()),  # format by its bytes
        ("exif_turn", pa.int32()),  # EXIF orientation 1-8
        ("clock_flags", pa.string()),  # a|b, as the table in clocks says
        ("infrared", pa.bool_()),  # measured from the pixels; null = they were not read
        (
            "look",
            pa.int64(),
        ),  # difference hash, see xmodal/look.py; null = not read, or before it was kept
        (
            "size_differs",
            pa.bool_(),
        ),  # whether its pixels are others than the metadata state; null = they state none, or as above
        ("event", pa.string()),  # "" = it has none; null = never an image, or before it was kept
    ]
)

TEXT_FEATURES = pa.schema([("sample_id", pa.string()), ("features", pa.binary()), ("lengths", pa.binary())])
"""`features`: float16 (captions, L, D), zero behind each caption's end; `lengths`: int32 (captions,) tokens.

Features of images have the columns sample_id and `features`: float16 (R, D), fixed-size binary."""


def parquet(table: pa.Table, large: tuple[str, ...] = ()) -> bytes:
    """Parquet bytes in row groups of 128; columns named in `large` are neither compressed nor given statistics."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=GROUP_ROWS, **_options(table.column_names, large))
    return sink.getvalue().to_pybytes()


@contextmanager
def parquet_file(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[bytes]:
    """The bytes of a part of `batches`, in row groups of 1,024, while the block lasts: they lie in a temporary file.

    Each batch but the last has whole row groups."""
    with tempfile.NamedTemporaryFile(prefix="xmodal-") as file:
        _write(file.name, batches, schema)
        give_back()
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            yield cast(bytes, data)


def _write(path: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema, **_options(schema.names)) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=WHOLE_ROWS)


def _options(names: list[str], large: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "compression": {name: "none" if name in large else "zstd" for name in names},
        "write_statistics": [name for name in names if name not in large],
        "use_dictionary": False,
    }


def read_batches(home: Store, path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """All rows of a part, a few in memory at a time; columns of `schema` that were not known yet hold nulls."""
    with tempfile.NamedTemporaryFile(prefix="xmodal-") as file:
        with home.open(path) as stored:
            shutil.copyfileobj(stored, file, COPIED)
        file.flush()
        for batch in pq.ParquetFile(file.name, memory_map=True).iter_batches(MANY, use_threads=False):
            table = with_new_columns(pa.Table.from_batches([batch]), schema.names, schema)
            yield from table.cast(schema).combine_chunks().to_batches()


def put_part(home: Store, folder: str, name: str, data: bytes, rows: int, **facts: Any) -> dict[str, Any]:
    """Writes a part and returns its entry in the version document; repeating it changes nothing."""
    entry = entry_of(f"{folder}/{name}", "parquet", data)
    home.put(entry["path"], data)
    return entry | {"rows": rows} | facts


def entry_of(name: str, kind: str, data: bytes) -> dict[str, Any]:
    """Path, hash and size of an immutable object: the path carries the first 16 digits of the hash."""
    sha256 = hashlib.sha256(data).hexdigest()
    return {"path": f"{name}-{sha256[:16]}.{kind}", "sha256": sha256, "bytes": len(data)}


def read_columns(home: Store, path: str, columns: list[str], schema: pa.Schema) -> pa.Table:
    """Some columns of a part; the bytes of the others are not read. Those of `schema` that were not known yet when it
    was written hold nulls."""
    system, root = home.filesystem()
    with system.open_input_file(f"{root}/{path}") as stream:
        file = pq.ParquetFile(stream)
        table = file.read([name for name in columns if name in file.schema_arrow.names])
    return with_new_columns(table, columns, schema)


def with_new_columns(table: pa.Table, wanted: list[str], schema: pa.Schema) -> pa.Table:
    """`table` with nulls in the columns that were not known yet when it was written."""
    for name in wanted:
        if name not in table.column_names:
            table = table.append_column(schema.field(name), pa.nulls(len(table), schema.field(name).type))
    return table.select(wanted)
