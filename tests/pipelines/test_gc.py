"""gc: frees what nothing names and what had to leave; and touches nothing else, however young, foreign or locked."""

import io
import json
import os
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.storage import S3Store, Store, local, open_store
from infra.storage.contract import HIDDEN
from pipelines import gc
from pipelines.dataset import Dataset, versions
from pipelines.errors import DataRefused
from pipelines.prepare import items
from tests.pipelines.road import contents, xmodal
from tests.pipelines.surveys import prepare, settings, write_survey

FRAME = "images/place-01/IMG_0004.JPG"
NOW, DAY = timedelta(0), timedelta(hours=24)


def free(root: Store, grace: timedelta = NOW) -> gc.Found:
    return gc.free(root, "tiny", grace, lease=5.0)


def close(archive: Store) -> None:
    """The frame may no longer be shown."""
    archive.put("media.csv", archive.read("media.csv").replace(b"true,IMG_0004.JPG", b"false,IMG_0004.JPG", 1))


def everything(root: Store) -> bytes:
    """All stored bytes, and those of tables as they read."""
    found = []
    for entry in root.list():
        data = root.read(entry.key)
        rows = pq.read_table(pa.BufferReader(data)).to_pylist() if entry.key.endswith(".parquet") else []
        found += [data, *(value for row in rows for value in row.values() if isinstance(value, bytes))]
    return b"\n".join(found)


def pixel_row(dataset: Dataset, key: str) -> dict[str, Any]:
    rows = [row for item in dataset.items for row in dataset.read_group(item.index, 0, "pixels").to_pylist()]
    return next(row for row in rows if row["key"] == key)


def age(root: Store, hours: float, folder: str = "") -> None:
    """Makes all files of a local store that much older, hidden ones too."""
    for path in Path(root.url, folder).rglob("*"):
        if path.is_file():
            then = time.time() - 3600 * hours
            os.utime(path, (then, then))


def check_withdrawal(archive: Store, root: Store) -> None:
    """Whatever the store: what may no longer be shown is in no object after gc."""
    first = prepare(settings(archive.url), root)
    row = pixel_row(first, FRAME)
    close(archive)
    second = prepare(settings(archive.url), root)
    assert row["image"] in everything(root) and row["source_sha256"] in everything(root)
    found = free(root)
    assert (found.retired, found.kept) == ({1: 1}, [2]) and versions(root, "tiny") == [2]
    assert row["image"] not in everything(root) and row["source_sha256"] not in everything(root)
    assert Dataset.open(root, "tiny").digest == second.digest and second.check(read_data=True) == []
    assert free(root).gone == []


@pytest.fixture
def small_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "cut", partial(items.cut, most=24))


def test_a_frame_that_may_no_longer_be_shown_leaves_the_store(archive: Store, root: Store, small_items: None) -> None:
    check_withdrawal(archive, root)
    assert root.head("datasets/tiny/versions/00000001.json") is not None
    with open(Path(archive.url, FRAME), "ab") as file:
        file.write(b"\0")
    assert prepare(settings(archive.url, captions={"says": []}), root).version == 3, "numbers are not used again"


@pytest.mark.services
def test_the_same_on_s3_with_unfinished_uploads(bucket_url: str, small_items: None) -> None:
    archive, root = open_store(f"{bucket_url}/archive"), open_store(f"{bucket_url}/root")
    write_survey(archive)
    check_withdrawal(archive, root)
    assert isinstance(root, S3Store)
    call, prefix = root.connection.files.call_s3, f"{root.prefix}/datasets/tiny/pixels/tiny"
    where = {"Bucket": root.connection.bucket, "Key": f"{prefix}/large.parquet"}
    upload: Any = call("create_multipart_upload", **where)
    call("upload_part", **where, UploadId=upload["UploadId"], PartNumber=1, Body=b"1")
    assert free(root, DAY).leftovers == []
    assert [entry.key for _, entry in free(root).leftovers] == ["pixels/tiny/large.parquet"]
    assert list(root.leftovers()) == []
    ended = xmodal("gc", "tiny", "--root", root.url)
    assert ended.code == 0 and "freed 0.0 MB" in ended.out and "erased" not in ended.out
    root.put("datasets/tiny/pixels/tiny/0123456789abcdef-0123456789abcdef.parquet", b"1")
    assert "volume.vacuum" in xmodal("gc", "tiny", "--root", root.url, "--older-than", "0s").out


def test_a_withheld_frame_that_then_vanished_still_has_to_leave(archive: Store, root: Store) -> None:
    prepare(settings(archive.url), root)
    close(archive)
    prepare(settings(archive.url), root)
    archive.delete([FRAME])
    table = archive.read("media.csv").splitlines(keepends=True)
    archive.put("media.csv", b"".join(line for line in table if b"false,IMG_0004.JPG" not in line))
    dataset = prepare(settings(archive.url), root)
    (row,) = [row for row in dataset.ledger().to_pylist() if row["key"] == FRAME]
    assert (row["status"], row["reason"]) == ("gone", "withheld")
    assert free(root, DAY).retired == {1: 1} and versions(root, "tiny") == [2, 3]


def test_a_file_that_vanished_retires_nothing(archive: Store, root: Store) -> None:
    prepare(settings(archive.url), root)
    archive.delete([FRAME])
    prepare(settings(archive.url), root)
    before = contents(root)
    assert free(root) == gc.Found(kept=[1, 2], retired={}) and contents(root) == before


def test_young_parts_and_receipts_stay(archive: Store, root: Store) -> None:
    """Of a run that was refused: its parts for a day, its receipts for half of one."""
    with pytest.raises(DataRefused):
        prepare(settings(archive.url, max_bad_share=0.01), root)
    left = {key for key in contents(root) if not key.startswith("locks/")}
    for hours, receipts, parts in ((11, 0, 0), (13, 1, 0), (25, 0, 1)):
        age(root, hours)
        found = free(root, DAY)
        assert (len(found.receipts), len(found.parts)) == (receipts, parts)
    assert len(left) == 2 and not contents(root)


def test_ages_are_by_the_stores_clock(archive: Store, root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is two days behind this machine: what it has just been given is not old."""
    behind = SimpleNamespace(time_ns=lambda: time.time_ns() - 2 * 86400 * 10**9)
    monkeypatch.setattr(local, "time", behind)
    with pytest.raises(DataRefused):
        prepare(settings(archive.url, max_bad_share=0.01), root)
    found = free(root, DAY)
    assert found.gone == [] and len(found.young) == 1


def test_nothing_else_is_touched(archive: Store, root: Store) -> None:
    prepare(settings(archive.url), root)
    home = Path(root.url, "datasets/tiny")
    root.replace("datasets/tiny/notes.json", b"{}", root.create("datasets/tiny/notes.json", b"[]"))
    for foreign in ("pixels/tiny/mine.parquet", "other/0123456789abcdef-0123456789abcdef.parquet", f"{HIDDEN}else"):
        (home / foreign).parent.mkdir(exist_ok=True)
        (home / foreign).write_bytes(b"mine")
    root.put("work/other/0123/pixels/a.parquet", b"of another dataset")
    (home / f"{HIDDEN}0123.tmp").write_bytes(b"half")
    before = {path for path in Path(root.url).rglob("*") if path.is_file()}
    age(root, 100)
    found = free(root, DAY)
    left = {path for path in Path(root.url).rglob("*") if path.is_file()}
    assert before - left == {home / f"{HIDDEN}0123.tmp"} and len(found.leftovers) == 1


def test_what_a_kill_in_a_renewal_left_goes_and_the_lock_stays(archive: Store, root: Store) -> None:
    prepare(settings(archive.url), root)
    locks = Path(root.url, "locks")
    (locks / f"{HIDDEN}0123.tmp").write_bytes(b"half")
    assert free(root, DAY).leftovers == []
    age(root, 25, "locks")
    assert [entry.key for _, entry in free(root, DAY).leftovers] == [f"{HIDDEN}0123.tmp"]
    assert {path.name for path in locks.iterdir()} == {"prepare-tiny.json", f"{HIDDEN}lock"}


def test_what_a_kill_in_a_retraining_left_goes(archive: Store, root: Store) -> None:
    prepare(settings(archive.url), root)
    left = [Path(root.url, folder, f"{HIDDEN}0123.tmp") for folder in ("retrain/traps/1", "promotions/traps")]
    for path in left:
        path.parent.mkdir(parents=True)
        (path.parent / "gate.json").write_bytes(b"whole")
        path.write_bytes(b"half")
    assert free(root, DAY).leftovers == []
    age(root, 25)
    assert len(free(root, DAY).leftovers) == 2
    assert all([one.name for one in path.parent.iterdir()] == ["gate.json"] for path in left)


def test_a_dry_run_says_it_and_does_nothing(archive: Store, root: Store) -> None:
    prepare(settings(archive.url), root)
    close(archive)
    prepare(settings(archive.url), root)
    age(root, 25, "datasets")
    before = contents(root)
    dry = xmodal("gc", "tiny", "--root", root.url, "--dry-run")
    assert dry.code == 0 and contents(root) == before, dry.err
    assert (
        "version 1: would be retired, 1 of its parts hold images that had to leave" in dry.out
        and "would free" in dry.out
    )
    assert "reports made before, in MLflow too, may still show such images" in dry.out
    done = xmodal("gc", "tiny", "--root", root.url)
    assert done.out == dry.out.replace("would be retired", "retired").replace("would free", "freed")
    young = xmodal("gc", "tiny", "--root", root.url)
    assert "freed 0.0 MB (0 parts, 0 receipts, 0 leftovers); versions kept: 2\n" in young.out
    assert "reports" not in young.out, "nothing had to leave"


def test_what_is_younger_is_told(archive: Store, root: Store) -> None:
    prepare(settings(archive.url), root)
    root.put("datasets/tiny/pixels/tiny/0123456789abcdef-0123456789abcdef.parquet", b"1" * 2_000_000)
    ended = xmodal("gc", "tiny", "--root", root.url)
    assert "1 parts that no version names (2.0 MB) are younger than 24h and stay; run again after" in ended.out


def test_mistakes(archive: Store, root: Store) -> None:
    prepare(settings(archive.url), root)
    for name in ("tinny", "../tiny", "tiny/pixels"):
        ended = xmodal("gc", name, "--root", root.url)
        assert ended.code == 10 and f"no dataset {name} here" in ended.line
    ended = xmodal("gc", "tiny", "--root", root.url, "--older-than", "yesterday")
    assert ended.code == 2 and "--older-than yesterday: give a number and s, m, h or d" in ended.line
    root.put("datasets/tiny/versions/00000002.json", json.dumps({"format": "xmodal-dataset-2"}).encode())
    before = contents(root)
    ended = xmodal("gc", "tiny", "--root", root.url, "--older-than", "0s")
    assert ended.code == 1 and "xmodal-dataset-2" in ended.line and contents(root) == before


def test_the_images_here_are_what_they_seem(archive: Store, root: Store) -> None:
    """A control of `everything`: a stored image is found in it."""
    dataset = prepare(settings(archive.url), root)
    assert pixel_row(dataset, FRAME)["image"] in everything(root)
    assert io.BytesIO(pixel_row(dataset, FRAME)["image"]).read(2) == b"\xff\xd8"
