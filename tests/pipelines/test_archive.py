"""Archives of loose objects and tars: what is listed, what is refused, what is read, on sound and on damaged tars."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import NotFound, Store, open_store
from pipelines.sources.archive import Archive
from tests.pipelines.archives import sorted_entries


def tar_of(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def store_with(folder: Path, **files: bytes) -> Store:
    store = open_store(str(folder))
    for name, data in files.items():
        store.put(name.replace("_", "."), data)
    return store


def keys(archive: Archive, prefix: str = "") -> list[str]:
    return [entry.key for entry in sorted_entries(archive, prefix)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_stand_beside_loose_objects_and_read_the_same(tmp_path: Path, form: int) -> None:
    members = {"b.jpg": b"bb" * 700, "dir/a.jpg": b"a", "empty.jpg": b"", "dir/" + "n" * 90 + ".jpg": b"long name"}
    store = store_with(tmp_path, x_tar=tar_of(members, form), c_jpg=b"loose")
    archive = Archive(store)
    contents = {entry.key: archive.read(entry) for entry in sorted_entries(archive)}
    assert contents == {"c.jpg": b"loose", **{f"x.tar!/{name}": data for name, data in members.items()}}
    assert list(contents) == sorted(contents)
    assert archive.refused.counts == {}


def test_a_members_etag_follows_its_tar(tmp_path: Path) -> None:
    store = store_with(tmp_path, x_tar=tar_of({"a": b"1", "b": b"2"}))
    first = {entry.key: entry for entry in sorted_entries(Archive(store))}
    head = store.head("x.tar")
    assert head is not None
    entry = first["x.tar!/b"]
    assert (entry.etag, entry.container, entry.size) == (f"{head.etag}:{entry.offset}", "x.tar", 1)
    assert {entry.key: entry for entry in sorted_entries(Archive(store))} == first
    store.put("x.tar", tar_of({"a": b"1", "c": b"333"}))
    assert keys(Archive(store)) == ["x.tar!/a", "x.tar!/c"]


def test_an_index_is_read_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_with(tmp_path, x_tar=tar_of({"a": b"1"}))
    opened: list[str] = []
    real = type(store).open
    monkeypatch.setattr(type(store), "open", lambda self, key: opened.append(key) or real(self, key))
    assert keys(Archive(store)) == keys(Archive(store)) == ["x.tar!/a"]
    assert opened == ["x.tar"]


def hostile() -> dict[str, tuple[tarfile.TarInfo, str]]:
    def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
        made = tarfile.TarInfo(name)
        made.type, made.linkname = kind, link
        return made

    return {
        "parent": (info("../../etc/passwd"), "parent_path"),
        "absolute": (info("/etc/passwd"), "absolute_path"),
        "windows": (info("C:\\x.jpg"), "absolute_path"),
        "address": (info("http://x/y.jpg"), "remote_url"),
        "control": (info("a\x01b.jpg"), "bad_path"),
        "long": (info("d/" * 700 + "x.jpg"), "bad_path"),
        "symlink": (info("link.jpg", tarfile.SYMTYPE, "/etc/passwd"), "member_not_regular"),
        "hardlink": (info("hard.jpg", tarfile.LNKTYPE, "good.jpg"), "member_not_regular"),
        "device": (info("null.jpg", tarfile.CHRTYPE), "member_not_regular"),
        "pipe": (info("pipe.jpg", tarfile.FIFOTYPE), "member_not_regular"),
    }


@pytest.mark.parametrize("case", hostile())
def test_hostile_members_are_refused_and_the_others_kept(tmp_path: Path, case: str) -> None:
    member, reason = hostile()[case]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        tar.addfile(member)
        good = tarfile.TarInfo("./good.jpg")
        good.size = 4
        tar.addfile(good, io.BytesIO(b"good"))
    archive = Archive(store_with(tmp_path, x_tar=stream.getvalue()))
    assert keys(archive) == ["x.tar!/good.jpg"]
    assert archive.refused.counts == {reason: 1}


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    twice = tar_of({"a": b"old"})[:1024] + tar_of({"a": b"new"})
    archive = Archive(store_with(tmp_path, x_tar=twice))
    (entry,) = sorted_entries(archive)
    assert archive.read(entry) == b"new"
    assert archive.refused.counts == {"duplicate_member": 1}


def whole_tar() -> bytes:
    return tar_of({"a": b"1" * 600, "b": b"2" * 600, "c": b"3" * 600}, tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("damaged", "left"),
    [
        (b"not a tar at all", []),
        (b"", []),
        (whole_tar()[:300], []),
        (whole_tar()[: 1536 + 512 + 100], ["a"]),  # inside the second body
        (whole_tar()[: 1536 + 100], ["a"]),  # inside the second header
        (whole_tar()[:1536] + b"\xff" * 512 + whole_tar()[2048:], ["a"]),  # the second header overwritten
    ],
)
def test_a_damaged_tar_is_listed_itself_beside_the_members_before(
    tmp_path: Path, damaged: bytes, left: list[str]
) -> None:
    archive = Archive(store_with(tmp_path, x_tar=damaged))
    assert keys(archive) == ["x.tar", *(f"x.tar!/{name}" for name in left)]
    assert archive.refused.counts["damaged_tar"] == 1


def test_a_header_that_claims_gigabytes_is_damage(tmp_path: Path) -> None:
    giant = tarfile.TarInfo("pax")
    giant.type, giant.size = tarfile.XHDTYPE, 8 << 30
    archive = Archive(store_with(tmp_path, x_tar=giant.tobuf() + bytes(2048)))
    assert keys(archive) == ["x.tar"]
    assert archive.refused.counts == {"damaged_tar": 1}


def test_a_name_that_is_no_utf8_stays_readable(tmp_path: Path) -> None:
    raw = tar_of({"caf?.jpg": b"x"}, tarfile.USTAR_FORMAT)
    header = bytearray(raw[:512])
    header[3] = 0xE9
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    archive = Archive(store_with(tmp_path, x_tar=bytes(header) + raw[512:]))
    (entry,) = sorted_entries(archive)
    assert entry.key == "x.tar!/caf%E9.jpg"
    assert archive.read(entry) == b"x"


def test_a_prefix_is_a_folder(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for key in ("a/1.jpg", "ab/2.jpg"):
        store.put(key, b"x")
    assert keys(Archive(store), "a") == ["a/1.jpg"]


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    store = store_with(tmp_path, a_jpg=b"x")
    archive = Archive(store)
    (entry,) = sorted_entries(archive)
    store.delete(["a.jpg"])
    with pytest.raises(NotFound, match=r"a\.jpg"):
        archive.read(entry)


@pytest.mark.services
def test_an_s3_bucket_lists_and_reads_the_same(tmp_path: Path, bucket_url: str) -> None:
    members = {f"{number:03d}.jpg": bytes([number]) * 40_000 for number in range(50)}
    stores = [open_store(str(tmp_path)), open_store(f"{bucket_url}/archive")]
    found = []
    for store in stores:
        store.put("a.jpg", b"loose")
        store.put("tars/x.tar", tar_of(members))
        store.put("tars/cut.tar", tar_of(members)[:100_000])
        archive = Archive(store)
        found.append([(entry.key, entry.size, entry.offset, archive.read(entry)) for entry in sorted_entries(archive)])
        assert archive.refused.counts == {"damaged_tar": 1, "member_cut_off": 1}
    assert found[0] == found[1]
    assert len(found[0]) == 1 + 1 + 2 + 50


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text("abc/é .", min_size=1, max_size=40), st.binary(max_size=2000), max_size=6))
def test_any_tar_reads_back_what_its_safe_members_hold(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("archive")))
    store.put("x.tar", tar_of(members))
    archive = Archive(store)
    found = {entry.key.removeprefix("x.tar!/"): archive.read(entry) for entry in sorted_entries(archive)}
    with tarfile.open(fileobj=io.BytesIO(tar_of(members))) as tar:
        kept = {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]
    safe = {name: data for name, data in kept.items() if name.strip("/") == name and ".." not in name.split("/")}
    assert {name.removeprefix("./"): data for name, data in safe.items()} == found
