"""Members of zips: real zips of the standard library's making, and by hand the ones that it would not make."""

import io
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import Store, Unreadable, open_store
from pipelines.sources.archive import Archive
from pipelines.sources.members import ArchiveEntry
from tests.pipelines.archives import sorted_entries, zip_of
from tests.pipelines.surveys import Reads

NOISE = random.Random(0).randbytes(300_000)


def archive_of(folder: Path, data: bytes) -> Archive:
    store = open_store(str(folder))
    store.put("x.zip", data)
    return Archive(store)


def listed(archive: Archive) -> dict[str, ArchiveEntry]:
    return {entry.key.removeprefix("x.zip!/"): entry for entry in sorted_entries(archive)}


def reasons(archive: Archive) -> dict[str, str | None]:
    return {name: entry.reason for name, entry in listed(archive).items()}


def local(name: bytes, data: bytes, **changes: int) -> bytes:
    """A local header and its data."""
    stated = {"flags": 0, "method": 0, "crc": zlib.crc32(data), "packed": len(data), "size": len(data)} | changes
    fields = (20, stated["flags"], stated["method"], 0, 0, stated["crc"], stated["packed"], stated["size"])
    return struct.pack("<4s5H3I2H", b"PK\3\4", *fields, len(name), 0) + name + data


def central(name: bytes, data: bytes, offset: int, extra: bytes = b"", **changes: int) -> bytes:
    stated = {"made": 0, "flags": 0, "method": 0, "crc": zlib.crc32(data), "packed": len(data), "size": len(data)}
    stated |= {"disk": 0, "attributes": 0} | changes
    fields = (stated["made"], 20, stated["flags"], stated["method"], 0, 0, stated["crc"])
    sizes = (
        stated["packed"],
        stated["size"],
        len(name),
        len(extra),
        0,
        stated["disk"],
        0,
        stated["attributes"],
        offset,
    )
    return struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields, *sizes) + name + extra


def end(count: int, size: int, offset: int, disk: int = 0, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", disk, disk, count, count, size, offset, len(comment)) + comment


def one(name: bytes, data: bytes = b"data", extra: bytes = b"", **changes: int) -> bytes:
    """A zip of one member whose directory says what it is told to."""
    body, record = local(name, data), central(name, data, 0, extra, **changes)
    return body + record + end(1, len(record), len(body))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_stand_in_the_place_of_their_zip(tmp_path: Path, method: int) -> None:
    members = {"b.jpg": NOISE, "dir/a.jpg": b"a" * 5000, "empty.jpg": b"", "ü/日本.jpg": b"x"}
    archive = archive_of(tmp_path, zip_of(members, method))
    found = listed(archive)
    assert {name: archive.read(entry) for name, entry in found.items()} == members
    assert list(found) == sorted(members) and archive.refused.counts == {}
    assert all(entry.container == "x.zip" and entry.size == len(members[name]) for name, entry in found.items())


def test_a_member_is_one_ranged_read_of_its_own_bytes(tmp_path: Path) -> None:
    store = Reads(str(tmp_path))
    store.put("x.zip", zip_of({f"{n}.jpg": NOISE for n in range(4)}, zipfile.ZIP_STORED))
    archive = Archive(store)
    entry = listed(archive)["2.jpg"]
    assert not store.counted
    assert archive.read(entry) == NOISE
    assert len(NOISE) < store.counted["x.zip"] < len(NOISE) + 200


def test_a_member_keeps_its_etag_until_its_bytes_change(tmp_path: Path) -> None:
    first = listed(archive_of(tmp_path, zip_of({"a.jpg": b"one", "b.jpg": b"two"})))
    moved = listed(archive_of(tmp_path, zip_of({"new.jpg": NOISE, "b.jpg": b"two", "a.jpg": b"ONE"})))
    assert moved["b.jpg"].etag == first["b.jpg"].etag and moved["b.jpg"].offset != first["b.jpg"].offset
    assert moved["a.jpg"].etag != first["a.jpg"].etag


def test_a_zip_behind_other_bytes_and_before_a_comment(tmp_path: Path) -> None:
    stream = io.BytesIO()
    stream.write(b"#!/bin/sh a self-extracting zip\n" * 100)
    with zipfile.ZipFile(stream, "a") as file:
        file.writestr("a.jpg", b"hello")
        file.comment = b"PK\5\6 is how an end record begins"
    data = stream.getvalue()
    shifted = b"junk before" * 7 + zip_of({"a.jpg": b"hello"})
    for number, content in enumerate((data, shifted)):
        archive = archive_of(tmp_path / str(number), content)
        assert archive.read(listed(archive)["a.jpg"]) == b"hello"


def test_a_zip_written_as_a_stream_has_its_sizes_behind_the_data(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:  # type: ignore[arg-type]
        file.writestr("a.jpg", NOISE)
        file.writestr("b.jpg", b"b")
    archive = archive_of(tmp_path, bytes(pipe.data))
    assert {name: archive.read(entry) for name, entry in listed(archive).items()} == {"a.jpg": NOISE, "b.jpg": b"b"}


def test_zip64(tmp_path: Path) -> None:
    """Sizes, offset and the end record in their 64-bit forms, as a writer of unknown lengths leaves them."""
    name, data = b"a.jpg", b"zip64 data"
    body = b"before" + local(name, data)
    full = 0xFFFFFFFF
    extra = struct.pack("<2H3Q", 1, 24, len(data), len(data), 6)
    record = central(name, data, full, extra, packed=full, size=full)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(record), len(body))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(body) + len(record), 1)
    whole = body + record + end64 + locator + end(0xFFFF, full, full)
    assert zipfile.ZipFile(io.BytesIO(whole)).read("a.jpg") == data
    for number, content in enumerate((whole, b"something before" + whole)):
        archive = archive_of(tmp_path / str(number), content)
        assert archive.read(listed(archive)["a.jpg"]) == data
    archive = archive_of(tmp_path / "without", body + record + end(0xFFFF, full, full))
    assert list(listed(archive)) == ["x.zip"] and archive.refused.counts == {"damaged_zip": 1}
    archive = archive_of(tmp_path / "missing", one(name, data, size=full))
    assert list(listed(archive)) == ["x.zip"] and archive.refused.counts == {"damaged_zip": 1}


UNICODE = struct.pack("<2HBI", 0x7075, 5 + len(b"e.jpg"), 1, zlib.crc32(b"?.jpg")) + b"e.jpg"


@pytest.mark.parametrize(
    ("raw", "changes", "name"),
    [
        (b"caf\x82.jpg", {}, "café.jpg"),  # code page 437
        ("café.jpg".encode(), {}, "café.jpg"),  # UTF-8 without its flag, as many programs write it
        ("café.jpg".encode(), {"flags": 0x800}, "café.jpg"),
        (b"caf\x82.jpg", {"flags": 0x800}, "caf\\x82.jpg"),  # says UTF-8 and is not
        (b"?.jpg", {"extra": UNICODE}, "e.jpg"),  # Info-ZIP's Unicode path
        (b"other.jpg", {"extra": UNICODE}, "other.jpg"),  # the same, of another name
        (b"./a.jpg", {}, "a.jpg"),
        (b"dir\\a.jpg", {}, "dir\\a.jpg"),
        (b"trailing.dots...", {}, "trailing.dots..."),
        (b"n" * 1024, {}, "n" * 1024),
    ],
)
def test_names(tmp_path: Path, raw: bytes, changes: dict, name: str) -> None:
    archive = archive_of(tmp_path, one(raw, **changes))
    assert list(listed(archive)) == [name]
    assert archive.read(listed(archive)[name]) == b"data"


@pytest.mark.parametrize(
    ("raw", "changes", "reason"),
    [
        (b"../../etc/passwd", {}, "parent_path"),
        (b"a\\..\\b.jpg", {}, "parent_path"),
        (b"/etc/passwd", {}, "absolute_path"),
        (b"C:\\x.jpg", {}, "absolute_path"),
        (b"https://x/y.jpg", {}, "remote_url"),
        (b"file:///etc/passwd", {}, "foreign_url"),
        (b"a\0b.jpg", {}, "bad_path"),
        (b"", {}, "no_path"),
        (b"n" * 1025, {}, "bad_path"),
        (b"folder/with/data/", {}, "bad_path"),
        (b"link.jpg", {"made": 3 << 8, "attributes": 0o120777 << 16}, "member_not_regular"),
        (b"pipe.jpg", {"made": 3 << 8, "attributes": 0o010644 << 16}, "member_not_regular"),
    ],
)
def test_names_and_kinds_that_are_refused(tmp_path: Path, raw: bytes, changes: dict, reason: str) -> None:
    archive = archive_of(tmp_path, one(raw, **changes))
    assert listed(archive) == {} and archive.refused.counts == {reason: 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"flags": 0x1}, "member_encrypted"),
        ({"flags": 0x41}, "member_encrypted"),
        ({"method": 9}, "member_method"),
        ({"method": 14}, "member_method"),
        ({"packed": 4000}, "member_overlap"),
        ({"size": 300 << 20}, "member_too_large"),
        ({"size": 2 << 20}, "member_ratio"),
    ],
)
def test_members_that_cannot_be_read_are_listed_with_the_reason(tmp_path: Path, changes: dict, reason: str) -> None:
    archive = archive_of(tmp_path, one(b"a.jpg", **changes))
    assert reasons(archive) == {"a.jpg": reason}
    with pytest.raises(Unreadable, match=reason) as caught:
        archive.read(listed(archive)["a.jpg"])
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "changes",
    [{"crc": 1}, {"size": 3}, {"size": 5}, {"method": 8}, {"packed": 3}],
)
def test_members_that_are_not_what_the_directory_says(tmp_path: Path, changes: dict) -> None:
    archive = archive_of(tmp_path, one(b"a.jpg", **changes))
    content = archive.content(listed(archive)["a.jpg"])
    assert isinstance(content, Unreadable) and content.reason == "member_damaged"


def test_a_flipped_byte_is_found_and_the_others_are_read(tmp_path: Path) -> None:
    data = bytearray(zip_of({"a.jpg": NOISE, "b.jpg": NOISE}, zipfile.ZIP_STORED))
    data[1000] ^= 1
    archive = archive_of(tmp_path, bytes(data))
    found = listed(archive)
    assert isinstance(archive.content(found["a.jpg"]), Unreadable)
    assert archive.read(found["b.jpg"]) == NOISE


def test_a_bomb_is_never_inflated(tmp_path: Path) -> None:
    bomb = zip_of({"bomb.bmp": bytes(100 << 20), "good.jpg": NOISE})
    assert len(bomb) < 500_000
    archive = archive_of(tmp_path, bomb)
    assert reasons(archive) == {"bomb.bmp": "member_ratio", "good.jpg": None}
    assert archive.read(listed(archive)["good.jpg"]) == NOISE


def test_a_member_that_claims_little_and_holds_much_is_not_inflated_further(tmp_path: Path) -> None:
    raw = zlib.compress(bytes(50 << 20), 9)[2:-4]
    body = local(b"a.jpg", raw, method=8, size=100)
    record = central(b"a.jpg", raw, 0, method=8, size=100)
    archive = archive_of(tmp_path, body + record + end(1, len(record), len(body)))
    content = archive.content(listed(archive)["a.jpg"])
    assert isinstance(content, Unreadable) and content.reason == "member_damaged"


def test_members_that_share_bytes(tmp_path: Path) -> None:
    """The overlapping bomb: a directory of many records that lead to the same bytes, wholly or in part."""
    body = local(b"a.jpg", NOISE[:5000])
    names = [b"%03d.jpg" % number for number in range(100)]
    record = b"".join(central(name, NOISE[:5000], 0) for name in names[:-1])
    record += central(names[-1], NOISE[:4000], 100)
    archive = archive_of(tmp_path, body + record + end(100, len(record), len(body)))
    found = reasons(archive)
    assert len(found) == 100 and list(found.values()).count("member_overlap") >= 99


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("a.jpg", b"old")
        file.writestr("a.jpg", b"new")
    archive = archive_of(tmp_path, stream.getvalue())
    assert archive.read(listed(archive)["a.jpg"]) == b"new"
    assert archive.refused.counts == {"duplicate_member": 1}


def whole() -> bytes:
    return zip_of({"a.jpg": b"1" * 600, "b.jpg": b"2" * 600, "c.jpg": b"3" * 600}, zipfile.ZIP_STORED)


BROKEN_DIRECTORY = whole().replace(b"PK\1\2", b"XK\1\2", 2).replace(b"XK\1\2", b"PK\1\2", 1)


@pytest.mark.parametrize(
    ("damaged", "reason", "left"),
    [
        (b"", "damaged_zip", []),
        (b"not a zip", "damaged_zip", []),
        (whole()[:-1], "damaged_zip", []),
        (whole()[:1000], "damaged_zip", []),
        (b"PK\5\6" * 9, "damaged_zip", []),
        (whole()[-100:], "damaged_zip", []),  # its directory would begin before it
        (BROKEN_DIRECTORY, "damaged_zip", ["a.jpg"]),
        (end(1, 0, 0, disk=1), "multi_disk_zip", []),
        (struct.pack("<4sIQI", b"PK\6\7", 0, 0, 2) + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), "multi_disk_zip", []),
    ],
)
def test_a_damaged_zip_is_listed_itself_beside_the_members_before(
    tmp_path: Path, damaged: bytes, reason: str, left: list[str]
) -> None:
    archive = archive_of(tmp_path, damaged)
    assert sorted(listed(archive)) == sorted([*left, "x.zip"])
    assert archive.refused.counts == {reason: 1}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(whole()) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.data())
def test_no_damage_crashes_or_gives_wrong_bytes(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], data: st.DataObject
) -> None:
    content = bytearray(whole())
    for position, value in flips:
        content[position] = value
    cut = data.draw(st.integers(0, len(content)))
    archive = archive_of(tmp_path_factory.mktemp("zip"), bytes(content[:cut] if cut % 3 == 0 else content))
    true = {"1" * 600, "2" * 600, "3" * 600}
    for entry in sorted_entries(archive):
        if entry.container is not None and isinstance(read := archive.content(entry), bytes):
            assert read.decode("latin-1") in true or zlib.crc32(read) == entry.packed.crc  # type: ignore[union-attr]


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text("abc/é .", min_size=1, max_size=40), st.binary(max_size=2000), max_size=6))
def test_any_zip_reads_back_what_its_safe_members_hold(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    archive = archive_of(tmp_path_factory.mktemp("zip"), zip_of(members))
    found = {name: archive.read(entry) for name, entry in listed(archive).items()}
    safe = {name: data for name, data in members.items() if name.strip("/") == name and ".." not in name.split("/")}
    assert found == {name.removeprefix("./"): data for name, data in safe.items()}


@pytest.mark.services
def test_an_s3_bucket_lists_and_reads_the_same(tmp_path: Path, bucket_url: str) -> None:
    members = {f"{number:03d}.jpg": NOISE[number : 40_000 + number] for number in range(50)}
    found = []
    stores: list[Store] = [open_store(str(tmp_path)), open_store(f"{bucket_url}/archive")]
    for store in stores:
        store.put("zips/x.zip", zip_of(members))
        archive = Archive(store)
        found.append([(entry.key, entry.size, entry.offset, archive.read(entry)) for entry in sorted_entries(archive)])
    assert found[0] == found[1] and len(found[0]) == 50
