"""Prepare on archives with files that cannot be read, odd names, members and https media: every one has its row."""

import gzip
import io
import json
import os
import socket
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from infra.storage import Linked, LocalStore, Store, Unreadable, Web, is_address, open_store
from pipelines.errors import DataRefused
from pipelines.prepare.listing import list_survey
from pipelines.prepare.parts import LEDGER, read_columns
from pipelines.prepare.settings import DataSettings, SurveySettings
from pipelines.sources.camtrap_dp import CamtrapDP
from tests.bench.pictures import drawing, marked
from tests.infra.secure_server import SecureServer, body, secure_server
from tests.infra.test_storage_s3 import Listing, fake_credentials
from tests.pipelines.surveys import coco_settings, prepare, write_coco
from tests.pipelines.test_archive import tar_of
from xmodal.settings import SettingsError, parse

PICTURE = drawing(64, 48, 1)


def frames(count: int) -> dict[str, bytes]:
    return {f"{number % 8}/{number:03}.jpg": marked(PICTURE, number) for number in range(count)}


def named(keys: list[str]) -> list[dict]:
    return [
        {"id": key, "file_name": key, "location": f"place {number % 8}", "category": 1}
        for number, key in enumerate(keys)
    ]


def ledger_rows(store: Store, parts: list[dict]) -> list[dict]:
    return [row for part in parts for row in read_columns(store, part["path"], LEDGER.names, LEDGER).to_pylist()]


def rows(store: Store, parts: list[dict]) -> dict[str, tuple[str, str | None]]:
    return {row["key"]: (row["status"], row["reason"]) for row in ledger_rows(store, parts)}


def ledger_of(data: DataSettings, root: Store) -> dict[str, tuple[str, str | None]]:
    dataset = prepare(data, root)
    return rows(root.child(f"datasets/{data.name}"), dataset.document["ledger"])


@pytest.mark.parametrize("asked", [{"requester_pays": True}, {"anonymous": True}], ids=lambda asked: next(iter(asked)))
def test_an_archive_on_a_server_that_takes_any_key(root: Store, monkeypatch: pytest.MonkeyPatch, asked: dict) -> None:
    """Keys that no path could be; every request says what the recipe says: its region, who pays, no signature."""
    keys = [*frames(24), "3//twice.jpg", "/leading.jpg", "2/../1/up.jpg", "5/./here.jpg"]
    files = {key: marked(PICTURE, number) for number, key in enumerate(keys)}
    written = open_store(f"{root.url}-metadata")
    write_coco(written, named(keys), {})
    bodies = {f"p/{key}": data for key, data in files.items()} | {"p/metadata.json": written.read("metadata.json")}
    server = Listing({}, pays="requester_pays" in asked, bodies=bodies)
    fake_credentials(monkeypatch)
    data = coco_settings("s3://bucket/p")
    where = {"endpoint": server.start(), "region": "eu-north-1"} | asked
    data = data.model_copy(update={"surveys": [data.surveys[0].model_copy(update=where)]})
    found = ledger_of(data, root)
    assert found == dict.fromkeys(keys, ("ok", None)) | {"metadata.json": ("rejected", "metadata")}
    if "anonymous" in asked:
        assert server.signed and set(server.signed) == {None}
    else:
        scopes = {str(one).split("Credential=")[1].split("/")[2] for one in server.signed}
        assert scopes == {"eu-north-1"}


def test_a_local_archive_as_it_is_found(tmp_path: Path, root: Store) -> None:
    folder = tmp_path / "archive"
    archive = open_store(str(folder))
    files = frames(24)
    odd = [
        "new\nline.jpg",
        "back\\slash.jpg",
        "dots....jpg",
        "trailing.dots.",
        " blank .jpg",
        "per%41cent.jpg",
        "日本.jpg",
    ]
    files |= {f"odd/{name}": marked(PICTURE, 1000 + number) for number, name in enumerate(odd)}
    write_coco(archive, named(sorted(key for key in files if "\\" not in key and "\n" not in key)), files)
    raw = os.fsencode(folder) + b"/odd/caf\xe9.jpg"
    Path(os.fsdecode(raw)).write_bytes(marked(PICTURE, 2000))
    Path(folder / "odd" / "caf%E9.jpg").write_bytes(marked(PICTURE, 2001))
    (folder / "odd" / "loop").symlink_to("..")
    (folder / "odd" / "self.jpg").symlink_to("self.jpg")
    (folder / "odd" / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "odd" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(folder / "odd" / "s.jpg"))
    (folder / "odd" / "linked.jpg").symlink_to("../0/000.jpg")
    found = ledger_of(coco_settings(str(folder), max_bad_share=0.3), root)
    assert {key for key, (status, _) in found.items() if status == "ok"} >= set(files) | {
        "odd/caf%E9.jpg",
        "odd/%00caf%E9.jpg",
        "odd/linked.jpg",
    }
    assert {key: reason for key, (status, reason) in found.items() if status == "rejected"} == {
        "odd/self.jpg": "link_loop",
        "odd/dangling.jpg": "dangling_link",
        "odd/pipe.jpg": "not_regular",
        "odd/s.jpg": "not_regular",
        "odd/loop": "not_image",
        "metadata.json": "metadata",
    }


def test_members_of_every_kind_of_container(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "archive"))
    files = frames(24)
    in_tar, in_tgz, in_zip = (
        {f"{number}.jpg": marked(PICTURE, base + number) for number in range(4)} for base in (100, 200, 300)
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, data in in_zip.items():
            file.writestr(name, data)
        file.writestr("notes.txt", "no image")
        file.writestr("bomb.jpg", bytes(40 << 20), zipfile.ZIP_DEFLATED)
    packed = {"a.tar": tar_of(in_tar), "b.tar.gz": gzip.compress(tar_of(in_tgz)), "c.zip": stream.getvalue()}
    members = [f"{name}!/{number}.jpg" for name in packed for number in range(4)]
    write_coco(archive, named([*files, *members]), files | packed)
    data = coco_settings(str(tmp_path / "archive"))
    found = ledger_of(data, root)
    assert {key for key, row in found.items() if row == ("ok", None)} == {*files, *members}
    assert found["c.zip!/notes.txt"] == ("rejected", "not_image")
    assert found["c.zip!/bomb.jpg"] == ("rejected", "member_ratio")
    assert prepare(data, root).document["version"] == 1


class _Failing(LocalStore):
    """A directory on a disk with bad sectors: what `bad` names cannot be read, as long as it says so."""

    bad: ClassVar[set[str]] = set()

    def read(self, key: str) -> bytes:
        if key in self.bad:
            raise Unreadable(f"{key}: Input/output error")
        return super().read(key)


class _OnFailingDisk(SurveySettings):
    def store(self) -> Store:
        return _Failing(self.archive)


def test_a_file_that_cannot_be_read_is_a_row_and_is_tried_again(
    tmp_path: Path, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = frames(24)
    write_coco(open_store(str(tmp_path / "archive")), named(list(files)), files)
    plain = coco_settings(str(tmp_path / "archive"))
    survey = _OnFailingDisk(**dict(plain.surveys[0]))
    data = plain.model_copy(update={"surveys": [survey]})
    monkeypatch.setattr(_Failing, "bad", {"0/000.jpg"})
    assert ledger_of(data, root)["0/000.jpg"] == ("rejected", "unreadable")
    monkeypatch.setattr(_Failing, "bad", set())
    assert ledger_of(data, root)["0/000.jpg"] == ("ok", None)


def allow_loopback(address: str) -> bool:
    return address in ("127.0.0.1", "::1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SecureServer]:
    with secure_server(tmp_path) as running:
        yield running


def surveyed(server: SecureServer) -> type[SurveySettings]:
    """Settings whose hosts may be on the loopback, for which production has no switch."""

    class Loopback(SurveySettings):
        def store(self) -> Store:
            web = Web(frozenset(self.hosts), allow_loopback, server.context, patience=0.5)
            return Linked(open_store(self.archive), web)

    return Loopback


def write_package(store: Store, paths: dict[str, str]) -> None:
    """A Camtrap DP package of one medium a path, each at a place of its own."""
    profile = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
    tables = {
        "deployments": ["deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd"],
        "media": ["mediaID,deploymentID,timestamp,filePath,filePublic,fileMediatype"],
        "observations": ["observationID,deploymentID,mediaID,observationLevel,observationType,scientificName"],
    }
    for number, (media_id, path) in enumerate(paths.items()):
        tables["deployments"].append(f"d{number},place {number},1.0,2.0,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z")
        tables["media"].append(f"{media_id},d{number},2026-01-02T12:00:00Z,{path},true,image/jpeg")
        tables["observations"].append(f"o{number},d{number},{media_id},media,animal,Vulpes vulpes")
    resources = [{"name": name, "path": f"{name}.csv"} for name in tables]
    for name, lines in tables.items():
        store.put(f"{name}.csv", "\n".join(lines).encode())
    store.put("datapackage.json", json.dumps({"profile": profile, "resources": resources}).encode())


def linked_settings(kind: Callable[..., SurveySettings], archive: str, *hosts: str) -> DataSettings:
    survey = kind(name="linked", archive=archive, hosts=hosts, source=CamtrapDP(kind="camtrap_dp"))
    base = coco_settings(archive, name="linked", max_bad_share=0.6)
    return base.model_copy(update={"surveys": [survey]})


def test_https_media_of_an_allowed_host(tmp_path: Path, root: Store, server: SecureServer) -> None:
    archive = open_store(str(tmp_path / "archive"))
    good = {f"/{number}/file": marked(PICTURE, number) for number in range(24)}
    server.answers |= {path: body(data, ETag=f'"{path}"') for path, data in good.items()}
    server.answers |= {
        "/closed": body(b"", 403),
        "/page": body(b"<html>", ETag="page"),
        "/away": body(b"", 302, Location="https://elsewhere.example/"),
    }
    paths = [*good, "/closed", "/page", "/away", "/gone"]
    media = {f"m{number}": server.url(path) for number, path in enumerate(paths)}
    write_package(archive, media | {"other": "https://other.example/x.jpg", "http": "http://localhost/x.jpg"})
    data = linked_settings(surveyed(server), archive.url, server.host)
    dataset = prepare(data, root)
    home = root.child("datasets/linked")
    found = rows(home, dataset.document["ledger"])
    assert {key for key, row in found.items() if row == ("ok", None)} == {server.url(path) for path in good}
    told = {key.rpartition("/")[2]: row[1] for key, row in found.items() if row[0] == "rejected" and "://" in key}
    assert told == {"closed": "unreadable", "page": "not_image", "away": "redirect_refused", "gone": "missing"}
    assert dataset.document["surveys"][0]["metadata_refused"]["remote_url"] == 2
    written = {row["key"]: row for row in ledger_rows(home, dataset.document["ledger"])}[server.url("/0/file")]
    assert (written["etag"], written["size"]) == ('"/0/file"', len(good["/0/file"]))

    asked = len(server.asked)
    assert prepare(data, root).document["version"] == 1
    assert {method for method, path, _ in server.asked[asked:] if path in good} == {"HEAD"}

    server.answers["/0/file"] = body(marked(PICTURE, 99), ETag="new")
    changed = prepare(data, root)
    assert changed.document["version"] == 2
    newer = {row["key"]: row for row in ledger_rows(home, changed.document["ledger"])}[server.url("/0/file")]
    assert newer["etag"] == "new" and newer["sha256"] != written["sha256"]


def test_one_object_of_a_web_server_that_cannot_answer_is_a_row_and_is_tried_again(
    tmp_path: Path, root: Store, server: SecureServer
) -> None:
    """HEAD says what it is, GET fails; as on a server whose one disk is down."""
    archive = open_store(str(tmp_path / "archive"))
    files = {f"/{number}/file": marked(PICTURE, number) for number in range(24)}
    server.answers |= {path: body(data, ETag=f'"{path}"') for path, data in files.items()}
    whole = server.answers["/7/file"]
    server.answers["/7/file"] = lambda asked: (whole if asked.command == "HEAD" else body(b"", 503))(asked)
    write_package(archive, {f"m{number}": server.url(path) for number, path in enumerate(files)})
    data = linked_settings(surveyed(server), archive.url, server.host)
    home = root.child("datasets/linked")
    found = rows(home, prepare(data, root).document["ledger"])
    bad = {key: row for key, row in found.items() if row[0] == "rejected" and "://" in key}
    assert bad == {server.url("/7/file"): ("rejected", "unreachable")}
    server.answers["/7/file"] = whole
    healed = prepare(data, root).document
    assert (healed["version"], rows(home, healed["ledger"])[server.url("/7/file")]) == (2, ("ok", None))


@pytest.mark.parametrize("stated", [True, False])
def test_files_whose_size_no_server_states_are_held_one_at_a_time(
    tmp_path: Path, root: Store, server: SecureServer, stated: bool
) -> None:
    """Each may be as large as any that is taken."""
    archive = open_store(str(tmp_path / "archive"))
    held: Counter[str] = Counter()

    def answer(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        def send(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("ETag", "e")
            if stated:
                request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            if request.command == "GET":
                held["now"] += 1
                held["most"] = max(held["most"], held["now"])
                time.sleep(0.05)
                held["now"] -= 1
                request.wfile.write(data)

        return send

    files = {f"/{number}/file": marked(PICTURE, number) for number in range(24)}
    server.answers |= {path: answer(data) for path, data in files.items()}
    write_package(archive, {f"m{number}": server.url(path) for number, path in enumerate(files)})
    found = ledger_of(linked_settings(surveyed(server), archive.url, server.host), root)
    assert sum(status == "ok" for status, _ in found.values()) == 24
    assert (held["most"] == 1) is not stated


@pytest.mark.data
def test_the_standards_example_with_its_host_allowed(data_dir: Path) -> None:
    """Nothing is asked for here: only what the metadata then name."""
    store = open_store(str(data_dir / "camtrap-dp-example"))
    survey = CamtrapDP(kind="camtrap_dp").read(Linked(store, Web(frozenset(["multimedia.agouti.eu"]))))
    keys = survey.media["key"].to_pylist()
    assert (len(keys), sum(is_address(key) for key in keys)) == (423, 413)
    assert survey.refused.counts["remote_url"] == 0


def test_without_a_setting_no_host_is_asked(tmp_path: Path, server: SecureServer) -> None:
    archive = open_store(str(tmp_path / "archive"))
    write_package(archive, {"m": server.url("/a"), "own": "own.jpg"})
    archive.put("own.jpg", PICTURE)
    listing = list_survey(data := linked_settings(SurveySettings, archive.url), data.surveys[0])
    assert listing.known.survey.refused.counts["remote_url"] == 1 and listing.known.survey.media["key"].to_pylist() == [
        "own.jpg"
    ]
    assert server.asked == []


def test_the_rule_of_production_refuses_this_machine(tmp_path: Path, server: SecureServer) -> None:
    archive = open_store(str(tmp_path / "archive"))
    write_package(archive, {"m": server.url("/a"), "own": "own.jpg"})
    archive.put("own.jpg", PICTURE)
    data = linked_settings(SurveySettings, archive.url, server.host)
    listing = list_survey(data, data.surveys[0])
    assert listing.rejected[server.url("/a")] == "address_refused" and server.asked == []


def test_withheld_media_are_not_even_asked_for(tmp_path: Path, server: SecureServer) -> None:
    archive = open_store(str(tmp_path / "archive"))
    write_package(archive, {"m": server.url("/hidden"), "own": "own.jpg"})
    archive.put("own.jpg", PICTURE)
    archive.put("media.csv", archive.read("media.csv").replace(b"/hidden,true", b"/hidden,false"))
    data = linked_settings(surveyed(server), archive.url, server.host)
    listing = list_survey(data, data.surveys[0])
    assert listing.rejected[server.url("/hidden")] == "withheld" and server.asked == []


def test_a_package_at_an_address(tmp_path: Path, server: SecureServer) -> None:
    """Descriptor, tables and media by URL; the archive holds something else."""
    remote = open_store(str(tmp_path / "remote"))
    write_package(remote, {"m": "media/1.jpg"})
    remote.put("media/1.jpg", PICTURE)
    server.answers |= {f"/package/{entry.key}": body(remote.read(entry.key)) for entry in remote.list()}
    archive = open_store(str(tmp_path / "archive"))
    archive.put("README.txt", b"the package is elsewhere")
    data = linked_settings(surveyed(server), archive.url, server.host)
    source = CamtrapDP(kind="camtrap_dp", package=server.url("/package/datapackage.json"))
    survey = data.surveys[0].model_copy(update={"source": source})
    listing = list_survey(data, survey)
    assert set(listing.entries) == {"README.txt", server.url("/package/media/1.jpg")}
    assert server.url("/package/media/1.jpg") not in listing.rejected


@pytest.mark.parametrize(
    "host", ["https://x.example", "x.example/path", "X.example", "*.example", "a b", "x:443", "u@x", ""]
)
def test_hosts_are_plain_names(host: str) -> None:
    survey = {"name": "s", "archive": "a", "source": {"kind": "camtrap_dp"}, "hosts": [host]}
    with pytest.raises(SettingsError, match="hosts"):
        parse(SurveySettings, survey)


def test_what_the_archive_calls_corrupt_is_not_read(tmp_path: Path, root: Store, counted: Counter[str]) -> None:
    store, files = open_store(str(tmp_path / "archive")), frames(24)
    rows = named(sorted(files))
    rows[3]["corrupt"], rows[4]["corrupt"] = True, False
    rows.append({"id": "lost", "file_name": "lost.jpg", "category": 1, "corrupt": True})
    write_coco(store, rows, files)
    found = ledger_of(coco_settings(store.url, max_bad_share=0.1), root)
    assert found.pop(rows[3]["file_name"]) == ("rejected", "corrupt") and rows[3]["file_name"] not in counted
    assert found["lost.jpg"] == ("rejected", "missing") and found[rows[4]["file_name"]] == ("ok", None)
    with pytest.raises(DataRefused, match=r"2 of 25 files gave no image.*corrupt 1"):
        ledger_of(coco_settings(store.url, name="strict"), root)
