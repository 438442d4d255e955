"""Tables of several chunks: rows taken, keys joined and parts written a few at a time give what all at once would."""

import hashlib
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from infra.storage import LocalStore
from pipelines.prepare import columns, spill, units
from pipelines.prepare.columns import NONE, matched, rising, taken
from pipelines.prepare.parts import PIXELS, parquet_file, read_batches

KEYS = st.lists(st.text("abZ/é", min_size=1, max_size=4), unique=True, max_size=30).map(sorted)


def chunked(values: list[str], sizes: int) -> pa.ChunkedArray:
    return pa.chunked_array([values[start : start + sizes] for start in range(0, len(values), sizes)], pa.string())


@given(st.integers(1, 20), st.integers(1, 7), st.data())
def test_rows_are_taken_from_chunks_as_from_one(rows: int, sizes: int, data: st.DataObject) -> None:
    table = pa.table({"number": range(rows), "text": [None if row % 3 == 0 else str(row) for row in range(rows)]})
    chunks = pa.Table.from_batches(table.to_batches(sizes), table.schema)
    positions = np.array(data.draw(st.lists(st.integers(NONE, rows - 1))), np.int32)
    nothing = {"number": None, "text": None}
    wanted = [nothing if row == NONE else table.slice(row, 1).to_pylist()[0] for row in positions.tolist()]
    assert taken(chunks, positions).to_pylist() == wanted
    assert taken(table.slice(0, 0), np.array([NONE])).to_pylist() == [nothing]


@given(KEYS, KEYS, st.integers(1, 9), st.integers(1, 9))
def test_rising_keys_find_their_places(keys: list[str], among: list[str], sizes: int, many: int) -> None:
    with patch.object(columns, "MANY", many):
        found = matched(chunked(keys, sizes), chunked(among, sizes))
    assert found.tolist() == [among.index(key) if key in among else NONE for key in keys]


@given(st.lists(st.sampled_from("abc"), max_size=5), st.integers(1, 3))
def test_keys_rise_where_each_is_above_the_last(keys: list[str], sizes: int) -> None:
    assert rising(chunked(keys, sizes)) == (keys == sorted(set(keys)))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz") | st.none()), max_size=9), st.integers(1, 4))
def test_codes_rise_with_names_put_together(rows: list[tuple[str, str | None]], sizes: int) -> None:
    """In passes of any size; a row that lacks one of its names has none."""
    columns_of = [pa.array([row[n] for row in rows], pa.string()) for n in (0, 1)]
    whole = [None if event is None else f"{survey} {event}" for survey, event in rows]
    with patch.object(units, "MANY", sizes):
        found = units.coded(*columns_of), units.coded(pa.array(whole, pa.string()))
    for names, codes in found:
        assert names.to_pylist() == sorted({name for name in whole if name})
        assert codes.dtype == np.int32 and [names[n].as_py() if n >= 0 else None for n in codes.tolist()] == whole


@given(st.lists(st.integers(0, 5) | st.none(), max_size=12), st.integers(1, 5))
def test_rows_of_equal_bytes_share_a_code(contents: list[int | None], sizes: int) -> None:
    """Two of the hashes begin with the same 64 bits."""
    hashes = [bytes(24) + bytes([n]) * 8 if n in (0, 1) else hashlib.sha256(bytes([n or 0])).digest() for n in range(6)]
    whole = pa.array([None if one is None else hashes[one] for one in contents], pa.binary(32))
    column = pa.chunked_array([whole.slice(start, sizes) for start in range(0, len(whole), sizes)], pa.binary(32))
    found = units.copies(column).tolist()
    for row, content in enumerate(contents):
        alike = [other for other, one in enumerate(contents) if one == content and content is not None]
        same = [other for other, code in enumerate(found) if code == found[row] != NONE]
        assert same == alike or (same == [] and len(alike) < 2)
    assert units.copies(pa.chunked_array([pa.array(hashes[2:], pa.binary(32))])).tolist() == [NONE] * 4


def test_a_part_written_in_batches_is_the_same_in_any_batches_and_comes_back(tmp_path: Path) -> None:
    rows = [{"sample_id": f"{n:032}", "key": f"camera/{n}.jpg", "width": n % 7 or None} for n in range(3000)]
    table = pa.Table.from_pylist(rows, PIXELS)
    store = LocalStore(str(tmp_path))
    with parquet_file(table.to_batches(2048), PIXELS) as data:
        with parquet_file(table.to_batches(1024), PIXELS) as other:
            assert bytes(data) == bytes(other)
        store.put("part.parquet", data)
    file = pq.ParquetFile(tmp_path / "part.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [1024, 1024, 952]
    older = table.select(["sample_id", "key"])
    pq.write_table(older, tmp_path / "older.parquet")
    with patch.object(columns, "MANY", 100):
        assert pa.Table.from_batches(read_batches(store, "part.parquet", PIXELS)).equals(table)
    found = pa.Table.from_batches(read_batches(store, "older.parquet", PIXELS), PIXELS)
    assert found.select(["sample_id", "key"]).equals(older) and found["width"].null_count == len(rows)


def test_tables_that_are_kept_on_disk_come_back() -> None:
    kept = spill.Kept()
    tables = {str(n): pa.table({"number": range(n)}) for n in range(3)}
    kept.update(tables)
    kept["1"] = tables["2"]
    assert dict(kept) == tables | {"1": tables["2"]}
    del kept["2"]
    assert list(kept) == ["0", "1"] and len(kept) == 2


def test_small_batches_are_put_together_on_disk() -> None:
    batches = pa.table({"number": range(100)}).to_batches(10)
    with patch.object(spill, "MANY", 25):
        found = spill.spilled(batches, batches[0].schema)
    assert [len(chunk) for chunk in found["number"].chunks] == [30, 30, 30, 10]
    assert found["number"].to_pylist() == list(range(100))
