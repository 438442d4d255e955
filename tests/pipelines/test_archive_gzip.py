"""Members of compressed tars: read in one pass, in any order asked for, on sound, damaged and hostile containers."""

import gzip
import io
import random
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import NotFound, Store, Unreadable, open_store
from pipelines.prepare.images import File, PixelReceipt, PixelTask, ReadPixels
from pipelines.sources import gzip_members
from pipelines.sources.archive import Archive, is_streamed
from pipelines.sources.members import ArchiveEntry
from tests.bench.pictures import drawing
from tests.pipelines.archives import sorted_entries
from tests.pipelines.test_archive import tar_of
from xmodal.transforms import PixelSettings

NOISE = random.Random(0).randbytes(1_000_000)
MEMBERS = {"b.jpg": NOISE[:700_001], "dir/a.jpg": NOISE[5:400_005], "empty.jpg": b"", "c.jpg": NOISE[:512]}


def archive_of(folder: Path, data: bytes, name: str = "x.tar.gz") -> Archive:
    store = open_store(str(folder))
    store.put(name, data)
    return Archive(store)


def listed(archive: Archive) -> list[str]:
    return [entry.key.partition("!/")[2] or entry.key for entry in sorted_entries(archive)]


def contents(archive: Archive) -> dict[str, bytes]:
    read = {entry.key.partition("!/")[2]: content for entry, content in archive.streamed(sorted_entries(archive))}
    assert all(isinstance(content, bytes) for content in read.values())
    return {name: content for name, content in read.items() if isinstance(content, bytes)}


@pytest.mark.parametrize("name", ["x.tar.gz", "X.TGZ"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_stand_in_the_place_of_their_tar(tmp_path: Path, name: str, form: int) -> None:
    members = MEMBERS | {"dir/" + "n" * 90 + ".jpg": b"long name"}
    archive = archive_of(tmp_path, gzip.compress(tar_of(members, form), 1), name)
    found = list(sorted_entries(archive))
    assert [entry.key for entry in found] == sorted(f"{name}!/{member}" for member in members)
    assert all(is_streamed(entry) for entry in found) and archive.refused.counts == {}
    assert contents(archive) == members
    assert {entry.key: archive.read(entry) for entry in found} == {
        f"{name}!/{member}": data for member, data in members.items()
    }


def test_one_pass_reads_the_container_once_and_ends_at_the_last_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {f"{number:02d}.jpg": NOISE for number in range(12)}
    archive = archive_of(tmp_path, gzip.compress(tar_of(members), 1))
    entries = list(sorted_entries(archive))
    opened: list[io.BufferedIOBase] = []
    taken = Counter[int]()
    real_open, real_refill = type(archive._store).open, gzip_members.Inflated._refill

    def refill(stream: gzip_members.Inflated) -> bool:
        there = real_refill(stream)
        taken[len(opened)] += len(stream._input)
        return there

    def open_file(store: Store, key: str) -> io.BufferedIOBase:
        opened.append(real_open(store, key))
        return opened[-1]

    monkeypatch.setattr(type(archive._store), "open", open_file)
    monkeypatch.setattr(gzip_members.Inflated, "_refill", refill)
    read = dict(archive.streamed(reversed(entries[:6])))
    assert list(read.values()) == [NOISE] * 6
    assert len(opened) == 1 and 6 * len(NOISE) < taken[1] < 7 * len(NOISE)


def test_several_gzip_streams_in_one_file_and_zeros_behind(tmp_path: Path) -> None:
    tar = tar_of(MEMBERS)
    data = b"".join(gzip.compress(tar[start : start + 123_456]) for start in range(0, len(tar), 123_456))
    assert contents(archive_of(tmp_path, data + bytes(5000))) == MEMBERS


def whole() -> bytes:
    return gzip.compress(tar_of({"a.jpg": NOISE, "b.jpg": NOISE, "c.jpg": NOISE}), 1)


@pytest.mark.parametrize(
    ("damaged", "left", "more"),
    [
        (whole()[: len(whole()) // 2], ["a.jpg"], {"member_cut_off": 1}),
        (whole()[:100], [], {}),
        (whole()[:-8] + b"1234" + whole()[-4:], ["a.jpg", "b.jpg"], {"member_cut_off": 1}),
        (whole()[:-2000], ["a.jpg", "b.jpg"], {"member_cut_off": 1}),
        (tar_of({"a.jpg": b"x"}), [], {}),
        (gzip.compress(NOISE), [], {}),
        (b"", [], {}),
    ],
    ids=["half", "head", "another checksum", "cut at the end", "a bare tar", "no tar", "nothing"],
)
def test_a_damaged_container_is_listed_itself_beside_the_members_before(
    tmp_path: Path, damaged: bytes, left: list[str], more: dict[str, int]
) -> None:
    archive = archive_of(tmp_path, damaged)
    assert listed(archive) == ["x.tar.gz", *left]
    assert archive.refused.counts == {"damaged_tar": 1} | more
    assert contents_of_members(archive) == dict.fromkeys(left, NOISE)


def contents_of_members(archive: Archive) -> dict[str, object]:
    entries = [entry for entry in sorted_entries(archive) if is_streamed(entry)]
    return {entry.key.partition("!/")[2]: content for entry, content in archive.streamed(entries)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(whole()) - 1), st.binary(min_size=1, max_size=3000))
def test_no_damage_crashes(tmp_path_factory: pytest.TempPathFactory, position: int, noise: bytes) -> None:
    damaged = bytearray(whole())
    damaged[position : position + len(noise)] = noise
    archive = archive_of(tmp_path_factory.mktemp("tgz"), bytes(damaged))
    if listed(archive) != ["a.jpg", "b.jpg", "c.jpg"]:
        assert "x.tar.gz" in listed(archive) and archive.refused.counts
    contents_of_members(archive)


def test_a_bomb_is_inflated_no_further_than_its_ratio_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Counter[str]()
    real = gzip_members.Inflated._piece

    def piece(stream: gzip_members.Inflated) -> bytes:
        data = real(stream)
        made["bytes"] += len(data)
        return data

    monkeypatch.setattr(gzip_members.Inflated, "_piece", piece)
    bomb = gzip.compress(tar_of({"bomb.bmp": bytes(100 << 20)}), 9)
    assert len(bomb) < 110_000
    archive = archive_of(tmp_path, bomb)
    assert listed(archive) == ["x.tar.gz"]
    assert archive.refused.counts == {"container_ratio": 1}
    assert made["bytes"] < 30 << 20


def test_a_header_that_claims_gigabytes_is_damage(tmp_path: Path) -> None:
    giant = tarfile.TarInfo("pax")
    giant.type, giant.size = tarfile.XHDTYPE, 8 << 30
    archive = archive_of(tmp_path, gzip.compress(giant.tobuf() + bytes(2048)))
    assert listed(archive) == ["x.tar.gz"]
    assert archive.refused.counts == {"damaged_tar": 1}


def test_hostile_members_are_refused_and_the_others_kept(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar = link.tobuf() + tar_of({"../up.jpg": b"1", "/abs.jpg": b"2", "good.jpg": b"3"})
    archive = archive_of(tmp_path, gzip.compress(tar))
    assert listed(archive) == ["good.jpg"]
    assert archive.refused.counts == {"member_not_regular": 1, "parent_path": 1, "absolute_path": 1}


def test_a_container_that_is_gone_or_changed_since_it_was_listed(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, gzip.compress(tar_of(MEMBERS)))
    entries = list(sorted_entries(archive))
    archive._store.put("x.tar.gz", gzip.compress(tar_of({"b.jpg": b"other"})))
    read = {entry.key: content for entry, content in archive.streamed(entries)}
    assert isinstance(read["x.tar.gz!/dir/a.jpg"], Unreadable)
    archive._store.delete(["x.tar.gz"])
    assert [content for _, content in archive.streamed(entries)] == [None] * 4
    with pytest.raises(NotFound):
        archive.read(entries[0])


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=9), st.binary(max_size=3000), max_size=6), st.randoms())
def test_any_members_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes], order: random.Random
) -> None:
    archive = archive_of(tmp_path_factory.mktemp("tgz"), gzip.compress(tar_of(members)))
    entries = list(sorted_entries(archive))
    order.shuffle(entries)
    assert {entry.key: content for entry, content in archive.streamed(entries)} == {
        f"x.tar.gz!/{name}": data for name, data in members.items()
    }


def test_an_item_reads_loose_files_and_all_kinds_of_members_in_the_order_of_their_keys(tmp_path: Path) -> None:
    """One receipt for one item, its rows sorted by key wherever the bytes lay; a damaged member costs only itself."""
    jpeg = drawing(96, 64, 0)
    store: Store = open_store(str(tmp_path / "archive"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("good.jpg", jpeg)
        file.writestr("bad.jpg", jpeg)
    damaged = bytearray(stream.getvalue())
    damaged[stream.getvalue().rfind(b"PK\3\4") + 100] ^= 255
    store.put("b.zip", bytes(damaged))
    store.put("a.tgz", gzip.compress(tar_of({"z.jpg": jpeg, "a.jpg": jpeg})))
    store.put("c.jpg", jpeg)
    store.put("d.tar", tar_of({"x.jpg": jpeg}))
    entries: list[ArchiveEntry] = list(sorted_entries(Archive(store)))
    home = open_store(str(tmp_path / "home"))
    files = [File(entry, entry.key) for entry in entries]
    task = PixelTask("item", "survey", store, home, home, files, PixelSettings(size=16, min_side=4))
    receipt = PixelReceipt.from_bytes(ReadPixels()(task))
    outcomes = dict(zip(receipt.outcomes["key"].to_pylist(), receipt.outcomes["reason"].to_pylist(), strict=True))
    assert list(outcomes) == [entry.key for entry in entries] == sorted(outcomes)
    assert {key: reason for key, reason in outcomes.items() if reason} == {"b.zip!/bad.jpg": "member_damaged"}
    assert receipt.part is not None and receipt.part["rows"] == 5
