"""Tables collected row by row: packed in between, the same whatever the chunk."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources import rows
from pipelines.sources.reading import BadPath, archive_key
from pipelines.sources.rows import Rows, text

SCHEMA = pa.schema([("name", pa.string()), ("box", pa.list_(pa.float32(), 2)), ("count", pa.int32())])


@settings(deadline=None)
@given(
    st.lists(st.fixed_dictionaries({}, optional={"name": st.text(), "count": st.integers(0, 99)})), st.integers(1, 5)
)
def test_rows_are_those_added_whatever_the_chunk(added: list[dict[str, Any]], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK", chunk)
        made = Rows(SCHEMA)
        for row in added:
            made.add(**row)
        assert len(made) == len(added)
        expected = [{"name": None, "box": None, "count": None} | row for row in added]
        assert made.table().to_pylist() == made.table().to_pylist() == expected
        made.add(box=[1.0, 2.0])
        assert made.table().to_pylist() == [*expected, {"name": None, "box": [1.0, 2.0], "count": None}]


def test_a_column_that_the_schema_lacks_is_an_error() -> None:
    with pytest.raises(TypeError, match="no such column: nmae"):
        Rows(SCHEMA).add(nmae="x")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a/caf\udce9.jpg", "a/caf%E9.jpg"),
        ("100%/caf\udce9%.jpg", "100%/caf%E9%25.jpg"),  # each part is a name of its own
        ("caf\udcc3\udca9.jpg", "café.jpg"),  # as Python writes it where a locale knows ASCII alone
        ("café%.jpg", "café%.jpg"),
    ],
)
def test_bytes_that_are_no_utf8_are_spelled_as_a_local_store_has_them(path: str, key: str) -> None:
    assert archive_key(path, "below") == f"below/{key}"


@pytest.mark.parametrize("path", ["a\ud800.jpg", "a\udc2f.jpg", "\udce9\ud83d.jpg"])
def test_other_halves_of_surrogate_pairs_are_no_names(path: str) -> None:
    with pytest.raises(BadPath, match="bad_path"):
        archive_key(path)
    pa.array([text(path)], pa.string())
