"""What a second prepare reads: only what is new or changed in the archive, and nothing where metadata alone changed."""

import io
import json
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from infra.storage import S3Store, StorageError, Store, open_store
from pipelines.dataset import Dataset
from pipelines.demo.survey import DETECTOR_KEY
from pipelines.errors import DataRefused
from pipelines.prepare import items
from pipelines.prepare.settings import DataSettings, SurveySettings
from tests.pipelines.surveys import OBSERVATIONS, coco_settings, prepare, settings, write_coco
from xmodal.settings import parse

PLACES, EACH = 6, 4


def image(colour: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (colour % 256, 40, 200)).save(stream, "JPEG")
    return stream.getvalue()


def listed(name: str, places: int = PLACES) -> list[dict[str, Any]]:
    """Images of a COCO archive whose keys begin with `name`."""
    return [
        {"id": f"{name}{place}-{n}", "file_name": f"{name}{place}/{n}.jpg", "location": f"place {place}", "category": 1}
        for place in range(places)
        for n in range(EACH)
    ]


def write(store: Store, images: list[dict[str, Any]]) -> None:
    files = {one["file_name"]: image(n) for n, one in enumerate(images)}
    there = {entry.key for entry in store.list()}
    write_coco(store, images, {key: data for key, data in files.items() if key not in there})


def of_images(counted: Counter[str]) -> dict[str, int]:
    """Image bytes read, by key."""
    return {key: size for key, size in counted.items() if key.lower().endswith(".jpg")}


def paths(dataset: Dataset, kind: str) -> set[str]:
    return {part["path"] for part in dataset.document[kind]}


def splits(dataset: Dataset) -> dict[str, str]:
    rows = dataset.records(["sample_id", "split"])
    return dict(zip(rows["sample_id"].to_pylist(), rows["split"].to_pylist(), strict=True))


def both(first: str, second: str) -> DataSettings:
    source = {"kind": "coco_camera_traps", "metadata": "metadata.json"}
    surveys = [{"name": name, "archive": url, "source": source} for name, url in (("coco", first), ("more", second))]
    return parse(DataSettings, coco_settings(first).model_dump(mode="json") | {"surveys": surveys})


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An archive of 24 frames, cut into items of at most eight."""
    monkeypatch.setattr(items, "cut", partial(items.cut, most=8))
    store = open_store(str(tmp_path / "coco"))
    write(store, listed("a"))
    return store


def test_a_new_survey_alone_is_read_and_all_old_parts_are_shared(
    coco: Store, root: Store, counted: Counter[str], tmp_path: Path
) -> None:
    first = prepare(coco_settings(coco.url), root)
    more = open_store(str(tmp_path / "more"))
    write(more, listed("b", places=3))
    counted.clear()
    second = prepare(both(coco.url, more.url), root)
    assert of_images(counted) == {entry.key: entry.size for entry in more.list("") if entry.key.endswith(".jpg")}
    assert [survey["name"] for survey in second.document["surveys"]] == ["coco", "more"]
    assert second.version == 2 and second.document["surveys"][1]["samples"] == 12
    assert all(paths(first, kind) < paths(second, kind) for kind in ("pixels", "records", "ledger"))
    assert splits(first).items() < splits(second).items()
    assert second.check(read_data=True) == []


def test_a_changed_file_is_read_again_and_a_vanished_one_is_gone(
    coco: Store, root: Store, counted: Counter[str]
) -> None:
    prepare(coco_settings(coco.url), root)
    coco.put("a0/1.jpg", image(77))
    coco.delete(["a0/2.jpg"])
    write_coco(coco, [one for one in listed("a") if one["file_name"] != "a0/2.jpg"], {})
    counted.clear()
    second = prepare(coco_settings(coco.url), root)
    assert of_images(counted) == {"a0/1.jpg": len(image(77))}
    rows = {row["key"]: row for row in second.ledger().to_pylist()}
    assert (rows["a0/2.jpg"]["status"], rows["a0/2.jpg"]["item"]) == ("gone", None)
    assert len(second.records()) == PLACES * EACH - 1 and second.check(read_data=True) == []


def test_another_media_id_is_another_sample_of_the_same_bytes(coco: Store, root: Store, counted: Counter[str]) -> None:
    first = prepare(coco_settings(coco.url), root)
    write_coco(coco, [one | {"id": f"new-{one['id']}"} for one in listed("a")], {})
    counted.clear()
    second = prepare(coco_settings(coco.url), root)
    assert of_images(counted) == {} and not splits(first).keys() & splits(second).keys()
    assert second.check(read_data=True) == []


def test_other_pixels_are_read_anew(coco: Store, root: Store, counted: Counter[str]) -> None:
    prepare(coco_settings(coco.url), root)
    counted.clear()
    prepare(coco_settings(coco.url, pixels={"size": 24, "min_side": 4}), root)
    assert len(of_images(counted)) == PLACES * EACH


def test_a_damaged_part_is_not_copied(coco: Store, root: Store, counted: Counter[str]) -> None:
    first = prepare(coco_settings(coco.url), root)
    home = root.child("datasets/coco")
    for part in first.document["pixels"]:
        home.put(part["path"], home.read(part["path"])[:-1] + b"\0")
    write(coco, [*listed("a"), {"id": "new", "file_name": "a0/new.jpg", "location": "place 0", "category": 1}])
    counted.clear()
    second = prepare(coco_settings(coco.url), root)
    assert len(of_images(counted)) == 1 + max(part["rows"] for part in first.document["pixels"])
    new = next(part for part in second.document["pixels"] if part["path"] not in paths(first, "pixels"))
    assert len(home.read(new["path"])) == new["bytes"]


def changed_labels(archive: Store) -> dict[str, Any]:
    archive.put(OBSERVATIONS, archive.read(OBSERVATIONS).replace(b"Vulpes vulpes", b"Vulpes lagopus"))
    return {}


def changed_overlay(archive: Store) -> dict[str, Any]:
    found = json.loads(archive.read(DETECTOR_KEY))
    for one in found["images"]:
        for box in one.get("detections") or []:
            box["bbox"][0] = round(box["bbox"][0] * 0.9, 4)
    archive.put(DETECTOR_KEY, json.dumps(found).encode())
    return {}


@pytest.mark.parametrize(
    "change",
    [
        changed_labels,
        changed_overlay,
        lambda archive: {"captions": {"says": ["count"]}},
        lambda archive: {"split": {"kind": "place", "seed": 3}},
    ],
    ids=["labels", "overlay", "captions", "split"],
)
def test_what_is_said_of_images_changes_without_reading_them(
    archive: Store, root: Store, counted: Counter[str], change: Any
) -> None:
    first = prepare(settings(archive.url), root)
    changes = change(archive)
    counted.clear()
    second = prepare(settings(archive.url, **changes), root)
    assert of_images(counted) == {} and second.version == 2
    assert second.document["pixels"] == first.document["pixels"]
    assert paths(second, "records") != paths(first, "records")


def test_a_frame_newly_withheld_leaves_without_reading_an_image(
    archive: Store, root: Store, counted: Counter[str]
) -> None:
    """Nor are the files read again that were no images."""
    prepare(settings(archive.url), root)
    archive.put("media.csv", archive.read("media.csv").replace(b"true,IMG_0004.JPG", b"false,IMG_0004.JPG", 1))
    counted.clear()
    second = prepare(settings(archive.url), root)
    assert of_images(counted) == {}
    keys = [
        key for item in second.items for key in second.read_group(item.index, 0, "pixels", ["key"])["key"].to_pylist()
    ]
    assert "images/place-01/IMG_0004.JPG" not in keys and "images/place-01/IMG_0003.JPG" in keys
    row = second.ledger().filter(pc.field("key") == "images/place-01/IMG_0004.JPG").to_pylist()[0]
    assert (row["reason"], row["sha256"], row["item"]) == ("withheld", None, None)


@pytest.mark.parametrize(("hours", "reads"), [(11, 0), (13, 55)])
def test_an_old_receipt_is_not_believed(
    archive: Store, root: Store, counted: Counter[str], hours: int, reads: int
) -> None:
    with pytest.raises(DataRefused, match="more than data"):
        prepare(settings(archive.url, max_bad_share=0.01), root)
    receipts = list(Path(root.url, "work").rglob("*.parquet"))
    assert receipts
    for path in receipts:
        then = time.time() - 3600 * hours
        os.utime(path, (then, then))
    counted.clear()
    assert prepare(settings(archive.url), root).version == 1
    assert len([key for key, size in of_images(counted).items() if size]) >= reads
    assert reads or not of_images(counted)


@pytest.mark.parametrize("kind", ["pixels", "records"])
def test_a_receipt_whose_part_is_missing_is_not_believed(archive: Store, root: Store, kind: str) -> None:
    """A run that was stopped behind its record parts, by a file in the place of a folder."""
    Path(root.url, "datasets/tiny").mkdir(parents=True)
    Path(root.url, "datasets/tiny/ledger").write_text("in the way")
    with pytest.raises(StorageError, match="ledger"):
        prepare(settings(archive.url), root)
    Path(root.url, "datasets/tiny/ledger").unlink()
    receipts = [entry.key for entry in root.list("work")]
    lost = [entry.key for entry in root.list(f"datasets/tiny/{kind}")]
    assert lost and any(f"/{kind}/" in key for key in receipts)
    root.delete(lost)
    assert prepare(settings(archive.url), root).check(read_data=True) == []


FILES = st.dictionaries(st.integers(0, 11), st.integers(0, 3), min_size=2, max_size=12)


@examples(max_examples=8, deadline=None)
@given(st.lists(FILES, min_size=2, max_size=3))
def test_a_version_made_from_another_has_the_parts_of_one_made_afresh(states: list[dict[int, int]]) -> None:
    """Files come, go and change in any way; what is shared and copied is what reading everything gives."""
    uncut = items.cut
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(items, "cut", partial(uncut, most=4))
        archive, root = open_store(f"{folder}/archive"), open_store(f"{folder}/root")
        for number, state in enumerate(states):
            files = {f"{n % 3}/{n}.jpg": image(10 * n + look) for n, look in state.items()}
            fixed = {"x/train.jpg": image(201), "x/val.jpg": image(202)}
            archive.delete([entry.key for entry in archive.list() if entry.key not in {*files, *fixed}])
            changed = {key: data for key, data in (files | fixed).items() if not same(archive, key, data)}
            shown = [
                {"id": key, "file_name": key, "location": key, "category": 1, "split": "train"} for key in files | fixed
            ]
            write_coco(archive, shown, changed)
            data = coco_settings(
                archive.url, split={"kind": "place", "held_out": ["x/val.jpg"], "val": 0.4, "test": 0.01}
            )
            try:
                dataset = prepare(data, root)
            except DataRefused:
                continue
            fresh = prepare(data, open_store(f"{folder}/fresh{number}"))
            assert paths(dataset, "pixels") == paths(fresh, "pixels")
            assert dataset.check(read_data=True) == []


def same(archive: Store, key: str, data: bytes) -> bool:
    return archive.head(key) is not None and archive.read(key) == data


@dataclass(frozen=True)
class CountedS3(S3Store):
    """Counts the bytes read of each key."""

    counted: Counter[str] = field(default_factory=Counter, hash=False, compare=False)

    def read(self, key: str) -> bytes:
        data = super().read(key)
        self.counted[key] += len(data)
        return data


@pytest.mark.services
def test_the_same_on_s3(bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file and a new survey, each read alone; a second prepare reads none."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(items, "cut", partial(items.cut, most=8))

    def opened(survey: SurveySettings) -> Store:
        plain = open_store(survey.archive)
        assert isinstance(plain, S3Store)
        return CountedS3(plain.connection, plain.prefix, counts)

    monkeypatch.setattr(SurveySettings, "store", opened)
    one, two, root = (open_store(f"{bucket_url}/{name}") for name in ("one", "two", "root"))
    write(one, listed("a"))
    first = prepare(coco_settings(one.url), root)
    counts.clear()
    assert prepare(coco_settings(one.url), root).digest == first.digest and of_images(counts) == {}
    write(one, [*listed("a"), {"id": "new", "file_name": "a0/new.jpg", "location": "place 0", "category": 1}])
    write(two, listed("b", places=2))
    counts.clear()
    second = prepare(both(one.url, two.url), root)
    assert set(of_images(counts)) == {"a0/new.jpg", *(one["file_name"] for one in listed("b", places=2))}
    assert splits(first).items() < splits(second).items() and second.check(read_data=True) == []
    assert paths(first, "pixels") & paths(second, "pixels")
