"""Containers and folders that cannot be read this time: rows of their own, all other files go on, and nothing is taken
for gone."""

import gzip
import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from infra.storage import Denied, Entry, LocalStore, Store, Unreachable, Unreadable, open_store
from pipelines.__main__ import exit_code
from pipelines.errors import DataRefused
from pipelines.prepare.settings import DataSettings, SurveySettings
from pipelines.sources import archive
from pipelines.sources.archive import Archive, is_streamed
from pipelines.sources.coco_camera_traps import CocoCameraTraps
from tests.bench.pictures import marked
from tests.infra.test_storage_s3 import Listing, fake_credentials
from tests.pipelines.archives import zip_of
from tests.pipelines.surveys import coco_settings, prepare, write_coco
from tests.pipelines.test_archive import tar_of
from tests.pipelines.test_prepare_odd_files import PICTURE, frames, ledger_of, named, rows

INSIDE = {f"{number}.jpg": marked(PICTURE, 100 + number) for number in range(4)}
MEMBERS = [f"old.zip!/{name}" for name in INSIDE]
METADATA = {"metadata.json": ("rejected", "metadata")}


class Closing(Listing):
    """Objects that a listing names and that are not given: to GET alone, or to HEAD as well."""

    answers: ClassVar[dict[str, tuple[int, str]]] = {
        "cold": (403, "InvalidObjectState"),
        "denied": (403, "AccessDenied"),
        "deleted": (404, "NoSuchKey"),
        "down": (503, "SlowDown"),
    }

    def __init__(self, bodies: dict[str, bytes]) -> None:
        super().__init__({}, bodies=bodies)
        self.closed = ""

    def answer(self, path: str, headers) -> tuple[int, bytes, dict[str, str]]:
        is_get = "Range" in headers
        if self.closed and "old.zip" in path and (is_get or self.closed != "cold"):
            status, code = self.answers[self.closed]
            return status, f"<Error><Code>{code}</Code></Error>".encode(), {}
        return super().answer(path, headers)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Closing:
    """24 loose frames, and a zip with four more, of which the metadata name three."""
    files, written = frames(24), open_store(str(tmp_path / "metadata"))
    write_coco(written, named([*files, *MEMBERS[:3]]), {})
    files |= {"old.zip": zip_of(INSIDE), "metadata.json": written.read("metadata.json")}
    fake_credentials(monkeypatch)
    return Closing({f"p/{key}": data for key, data in files.items()})


def settings(server: Closing, **changes: object) -> DataSettings:
    data = coco_settings("s3://bucket/p", **changes)
    return data.model_copy(update={"surveys": [data.surveys[0].model_copy(update={"endpoint": server.start()})]})


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_INDEXES", {})


@pytest.mark.parametrize("closed", ["cold", "denied"])
def test_a_container_that_is_refused_is_a_row_and_its_members_are_not_gone(
    server: Closing, root: Store, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    data = settings(server, max_bad_share=0.3)
    another_process(monkeypatch)
    good = dict.fromkeys([*frames(24), *MEMBERS], ("ok", None)) | METADATA
    assert ledger_of(data, root) == good

    server.closed = closed
    another_process(monkeypatch)
    dataset = prepare(data, root)
    found = rows(root.child("datasets/coco"), dataset.document["ledger"])
    assert found == good | dict.fromkeys(["old.zip", *MEMBERS], ("rejected", "unreadable"))
    assert {row["key"] for row in dataset.ledger().to_pylist() if row["event"] == ""} == {
        *frames(24),
        *MEMBERS,
        "old.zip",
    }
    assert dataset.document["surveys"][0]["members_refused"] == {"unreadable": 1}
    another_process(monkeypatch)
    assert prepare(data, root).document["version"] == 2, "tried again, and still so"

    server.closed = ""
    another_process(monkeypatch)
    assert ledger_of(data, root) == good | {"old.zip": ("gone", None)}


def test_too_many_members_that_cannot_be_read_end_the_run(
    server: Closing, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_process(monkeypatch)
    data = settings(server)
    ledger_of(data, root)
    server.closed = "cold"
    another_process(monkeypatch)
    with pytest.raises(DataRefused, match=r"5 of 29 files gave no image.*unreadable 5 \(old\.zip, old\.zip!/0\.jpg"):
        prepare(data, root)


def test_what_metadata_name_in_a_container_that_was_never_read_is_not_called_missing(
    server: Closing, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_process(monkeypatch)
    server.closed = "cold"
    found = ledger_of(settings(server, max_bad_share=0.3), root)
    bad = {key: reason for key, (status, reason) in found.items() if status == "rejected"}
    assert bad == dict.fromkeys(["old.zip", *MEMBERS[:3]], "unreadable") | {"metadata.json": "metadata"}


def test_a_container_that_vanished_since_it_was_listed_is_as_a_file_that_did(
    server: Closing, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_process(monkeypatch)
    data = settings(server, max_bad_share=0.3)
    ledger_of(data, root)
    server.closed = "deleted"
    another_process(monkeypatch)
    found = ledger_of(data, root)
    assert found["old.zip"] == found[MEMBERS[0]] == ("rejected", "missing")
    assert found[MEMBERS[3]] == ("gone", None)


def test_an_outage_ends_the_listing(server: Closing, monkeypatch: pytest.MonkeyPatch) -> None:
    another_process(monkeypatch)
    store = open_store("s3://bucket/p", endpoint=server.start(), patience=0.3)
    assert store.read("0/000.jpg")
    server.closed = "down"
    with pytest.raises(Unreachable):
        list(Archive(store).stream())


def test_metadata_that_are_replaced_while_they_are_read_end_the_run_in_one_line(
    server: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = server.answer
    changed = (412, b"<Error><Code>PreconditionFailed</Code></Error>", {})
    monkeypatch.setattr(
        server, "answer", lambda path, headers: changed if "If-Match" in headers else real(path, headers)
    )
    source = CocoCameraTraps(kind="coco_camera_traps", metadata="metadata.json")
    with pytest.raises(Denied, match=r"metadata\.json: was changed while it was read; run again$") as caught:
        source.read(open_store("s3://bucket/p", endpoint=server.start()))
    assert exit_code(caught.value) == 1


class _Sector(io.BytesIO):
    """A file with a bad sector from byte `bad` on."""

    bad = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() + (size or 0) > self.bad:
            raise Unreadable("x.tar: Input/output error")
        return super().read(size)


class _Worn(LocalStore):
    """A disk that gives the first `good` bytes of each container."""

    good: ClassVar[int] = 0

    def open(self, key: str) -> io.BufferedIOBase:
        sector = _Sector(self.read(key))
        sector.bad = self.good
        return sector


def test_members_before_a_place_that_cannot_be_read_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _Worn(str(tmp_path))
    store.put("x.tar", tar_of({f"{number}.jpg": bytes(1000) for number in range(5)}))
    store.put("y.jpg", b"y")
    monkeypatch.setattr(_Worn, "good", 4000)
    found = Archive(store)
    reasons = {entry.key: entry.reason for entry in found.stream()}
    assert reasons == {"x.tar": "unreadable", "y.jpg": None} | {f"x.tar!/{number}.jpg": None for number in range(3)}
    assert found.shut == {"x.tar!/"} and found.refused.counts == {"unreadable": 1}
    monkeypatch.setattr(_Worn, "good", 1 << 20)
    assert len(list(Archive(store).stream())) == 6, "nothing of it is remembered"


def test_members_of_a_compressed_tar_behind_such_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _Worn(str(tmp_path))
    noise = random.Random(0).randbytes(400_000)  # which no packing makes smaller
    store.put("x.tgz", gzip.compress(tar_of({f"{number}.jpg": noise for number in range(5)}), 1))
    monkeypatch.setattr(_Worn, "good", 1 << 30)
    entries = [entry for entry in Archive(store).stream() if is_streamed(entry)]
    for good, whole in ((1_500_000, 3), (0, 0)):
        monkeypatch.setattr(_Worn, "good", good)
        read = {entry.key: data for entry, data in Archive(store).streamed(entries)}
        faults = [data.reason for data in read.values() if isinstance(data, Unreadable)]
        assert list(read.values())[:whole] == [noise] * whole and faults == ["unreadable"] * (5 - whole)


def test_members_of_a_container_on_a_disk_that_is_not_mounted(tmp_path: Path, root: Store) -> None:
    files = frames(24)
    store = open_store(str(tmp_path / "archive"))
    write_coco(store, named([*files, *MEMBERS]), files)
    elsewhere = tmp_path / "disk.zip"
    elsewhere.write_bytes(zip_of(INSIDE))
    (tmp_path / "archive" / "old.zip").symlink_to(elsewhere)
    data = coco_settings(store.url, max_bad_share=0.3)
    assert ledger_of(data, root)[MEMBERS[3]] == ("ok", None)
    elsewhere.unlink()
    found = ledger_of(data, root)
    assert found["old.zip"] == ("rejected", "dangling_link")
    assert {found[key] for key in MEMBERS} == {("rejected", "unreadable")}


class _Locked(LocalStore):
    """A directory in which one folder may not be entered; root, as whom tests may run, enters any."""

    folder: ClassVar[str] = ""

    def stream(self, prefix: str = "") -> Iterator[Entry]:
        for entry in super().stream(prefix):
            if not (self.folder and entry.key.startswith(self.folder)):
                yield entry
        if self.folder:
            yield Entry(self.folder, 0, "e", datetime.fromtimestamp(0, UTC), "unreadable_folder")


class _OnLockedDisk(SurveySettings):
    def store(self) -> Store:
        return _Locked(self.archive)


def test_files_of_a_folder_that_may_not_be_entered(
    tmp_path: Path, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = frames(24)
    plain = coco_settings(str(tmp_path / "archive"), max_bad_share=0.3)
    write_coco(open_store(str(tmp_path / "archive")), named(list(files)[2:]), files)
    data = plain.model_copy(update={"surveys": [_OnLockedDisk(**dict(plain.surveys[0]))]})
    good = dict.fromkeys(files, ("ok", None)) | METADATA
    assert ledger_of(data, root) == good
    monkeypatch.setattr(_Locked, "folder", "1/")
    inside = dict.fromkeys([key for key in files if key.startswith("1/")], ("rejected", "unreadable"))
    assert len(inside) == 3
    assert ledger_of(data, root) == good | inside | {"1/": ("rejected", "unreadable_folder")}
    monkeypatch.setattr(_Locked, "folder", "")
    assert ledger_of(data, root) == good | {"1/": ("gone", None)}
