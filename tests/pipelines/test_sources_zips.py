"""Metadata in zips: read as a stream, with hostile, damaged and encrypted members refused in one line."""

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import NotFound, open_store
from pipelines.errors import DataRefused
from pipelines.sources import zips
from pipelines.sources.zips import WithZips
from tests.pipelines.archives import zip_of


def opened(folder: Path, data: bytes) -> WithZips:
    store = open_store(str(folder))
    store.put("a/x.zip", data)
    store.put("a/loose.csv", b"loose")
    store.put("a/b/deep.csv", b"deep")
    return WithZips(store)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_read_like_files_beside_them(tmp_path: Path, method: int) -> None:
    data = bytes(range(256)) * 700
    with opened(tmp_path, zip_of({"t.csv": data, "in/u.csv": b"u"}, method)) as store:
        assert store.read("a/x.zip!/t.csv") == data
        assert (store.read("a/x.zip!/in/u.csv"), store.read("a/loose.csv")) == (b"u", b"loose")
        with store.open("a/x.zip!/t.csv") as file:
            file.seek(-300, io.SEEK_END)
            assert file.read() == data[-300:]
            file.seek(5)
            assert file.read(3) == data[5:8]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "loose.csv", "x.zip"]


def test_names_are_those_directly_in_a_folder(tmp_path: Path) -> None:
    members: dict[str, bytes] = dict.fromkeys(("t.csv", "in/u.csv", "../up.csv", "/root.csv", "in/d/v.csv"), b"x")
    with opened(tmp_path, zip_of(members)) as store:
        assert sorted(store.names("a")) == ["a/loose.csv", "a/x.zip"]
        assert list(store.names("a/x.zip!")) == ["a/x.zip!/t.csv"]
        assert list(store.names("a/x.zip!/in/")) == ["a/x.zip!/in/u.csv"]


@pytest.mark.parametrize("damage", [b"", b"not a zip", zip_of({"t.csv": b"x" * 999})[:60]])
def test_a_file_that_is_no_zip_is_named(tmp_path: Path, damage: bytes) -> None:
    with opened(tmp_path, damage) as store, pytest.raises(DataRefused, match=r"a/x\.zip: not a readable zip"):
        store.open("a/x.zip!/t.csv")


def test_flipped_bytes_are_found(tmp_path: Path) -> None:
    data = bytearray(zip_of({"t.csv": b"a,b\n" * 9999}))
    data[60] ^= 0xFF
    with (
        opened(tmp_path, bytes(data)) as store,
        pytest.raises(DataRefused, match=r"x\.zip!/t\.csv: not a readable zip"),
    ):
        store.read("a/x.zip!/t.csv")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(zip_of({"t.csv": b"secret"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with opened(tmp_path, bytes(data)) as store, pytest.raises(DataRefused, match="encrypted"):
        store.read("a/x.zip!/t.csv")


def test_a_bomb_is_refused_before_a_byte_of_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zip_of({"t.csv": bytes(100_000_000)})
    assert len(bomb) < 100_000
    with opened(tmp_path, bomb) as store, pytest.raises(DataRefused, match="claim to unpack to 100000000 are not read"):
        store.open("a/x.zip!/t.csv")
    monkeypatch.setattr(zips, "MOST_BYTES", 10)
    with opened(tmp_path, zip_of({"t.csv": b"12345678901"})) as store, pytest.raises(DataRefused, match="are not read"):
        store.open("a/x.zip!/t.csv")


def test_a_member_that_holds_more_than_it_claims_ends_at_its_claim(tmp_path: Path) -> None:
    data = bytearray(zip_of({"t.csv": b"x" * 5000}))
    for start in (22, data.index(b"PK\x01\x02") + 24):
        data[start : start + 4] = (100).to_bytes(4, "little")
    with opened(tmp_path, bytes(data)) as store, pytest.raises(DataRefused, match="not a readable zip"):
        store.read("a/x.zip!/t.csv")


def test_a_member_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    with opened(tmp_path, zip_of({"in/t.csv": b"x"})) as store:
        with pytest.raises(NotFound, match=r"did you mean a/x\.zip!/in/t\.csv\?"):
            store.open("a/x.zip!/t.csv")
        with pytest.raises(NotFound, match=r"no such file in this zip$"):
            store.open("a/x.zip!/v.csv")


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 399), st.integers(1, 255))
def test_any_damaged_zip_reads_the_same_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, position: int, flip: int
) -> None:
    data = bytearray(zip_of({"t.csv": content}))
    data[position % len(data)] ^= flip
    with opened(tmp_path_factory.mktemp("zip"), bytes(data)) as store:
        try:
            assert store.read("a/x.zip!/t.csv") == content
        except (DataRefused, NotFound) as refusal:
            assert "\n" not in str(refusal)
