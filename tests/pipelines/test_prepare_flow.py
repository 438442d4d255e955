"""Prepare on real files: what is taken, what is not and why, what a second run does, what must not be stored."""

import io
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.prepare import items, run
from pipelines.prepare.attributes import NAMES
from pipelines.prepare.before import Before
from pipelines.prepare.language import version
from pipelines.prepare.listing import SurveyListing, list_survey
from pipelines.prepare.settings import DataSettings, SurveySettings
from tests.pipelines.archives import zip_of
from tests.pipelines.surveys import (
    OBSERVATIONS,
    coco_settings,
    prepare,
    settings,
    write_coco,
)


def image(colour: int = 0, exif: bytes = b"", grey: bool = False) -> bytes:
    stream = io.BytesIO()
    fill = (colour % 256,) * 3 if grey else (colour % 256, 40, 200)
    Image.new("RGB", (16, 16), fill).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def splits(dataset: Dataset) -> dict[str, str]:
    """Split by media id."""
    rows = dataset.records(["media_id", "split"])
    return dict(zip(rows["media_id"].to_pylist(), rows["split"].to_pylist(), strict=True))


def coco(archive: Store, files: dict[str, bytes] | None = None, places: int = 6) -> list[dict[str, object]]:
    """A COCO archive of fox frames at `places`, four each, with further or other `files`; its images."""
    images: list[dict[str, object]] = [
        {"id": f"{place}-{n}", "file_name": f"{place}/{n}.jpg", "location": f"place {place}", "category": 1}
        for place in range(places)
        for n in range(4)
    ]
    pictures = {str(one["file_name"]): image(number) for number, one in enumerate(images)}
    write_coco(archive, images, pictures | (files or {}))
    return images


def test_a_count_that_differs_from_the_listing_is_never_committed(archive: Store, root: Store) -> None:
    def one_more(data: DataSettings, survey: SurveySettings, before: Before | None) -> SurveyListing:
        found = list_survey(data, survey, before)
        return replace(found, count=found.count + 1)

    with patch.object(run, "list_survey", one_more), pytest.raises(AssertionError, match="nothing is committed"):
        prepare(settings(archive.url), root)
    assert not [entry.key for entry in root.list() if "/versions/" in entry.key]


def test_every_file_is_accounted_for(archive: Store, root: Store) -> None:
    dataset = prepare(settings(archive.url), root)
    ledger = dataset.ledger()
    survey = dataset.document["surveys"][0]
    listed = sorted(entry.key for entry in archive.list())
    assert sorted(ledger.filter(pc.field("etag").is_valid())["key"].to_pylist()) == listed
    assert survey["files"] == len(listed) and sum(survey["counts"].values()) == len(ledger) == len(listed) + 1
    assert survey["counts"] == {
        "ok": 55,
        "rejected/empty": 1,
        "rejected/metadata": 5,
        "rejected/missing": 1,
        "rejected/not_image": 1,
        "rejected/truncated": 1,
        "rejected/withheld": 8,
    }
    assert len(dataset.records()) == survey["samples"] == 55 and dataset.check(read_data=True) == []


def test_records_and_pixels_say_the_same(archive: Store, root: Store) -> None:
    dataset = prepare(settings(archive.url), root)
    records = dataset.records(["sample_id", "media_id", "codes", "captions", "split", "n_boxes", "boxes", "place"])
    for item in dataset.items:
        own = records.filter(pc.field("item") == item.index)
        pixels = dataset.read_group(item.index, 0, "pixels")
        assert pixels["sample_id"].to_pylist() == own["sample_id"].to_pylist()[: len(pixels)]
        with Image.open(io.BytesIO(pixels["image"][0].as_py())) as stored:
            assert stored.size == (32, 32) and not stored.getexif()
    for row in records.to_pylist():
        assert len(row["codes"]) == 4 * len(NAMES) == 4 * len(dataset.attributes())
        assert (row["split"] == "none") or json.loads(row["captions"])
        assert row["n_boxes"] is None or len(row["boxes"]) == 16 * row["n_boxes"]


def test_places_are_disjoint_between_splits(archive: Store, root: Store) -> None:
    dataset = prepare(settings(archive.url), root)
    places = {split: set(dataset.records(["place"], split)["place"].to_pylist()) for split in ("train", "val", "test")}
    assert all(places.values())
    assert not (places["train"] & places["val"] or places["train"] & places["test"] or places["val"] & places["test"])


def test_preparing_twice_is_no_work_and_the_same_version(archive: Store, root: Store, counted: Counter[str]) -> None:
    first = prepare(settings(archive.url), root)
    before = {entry.key: entry.etag for entry in root.list("datasets")}
    counted.clear()
    second = prepare(settings(archive.url), root)
    after = {entry.key: entry.etag for entry in root.list("datasets")}
    assert (second.version, second.digest) == (first.version, first.digest)
    assert after == before and not any(".JPG" in key for key in counted)
    assert list(root.list("work")) == []


def test_a_changed_label_reads_no_image_byte_and_keeps_every_pixel_part(
    archive: Store, root: Store, counted: Counter[str]
) -> None:
    first = prepare(settings(archive.url), root)
    table = archive.read(OBSERVATIONS)
    assert b"Vulpes vulpes" in table
    archive.put(OBSERVATIONS, table.replace(b"Vulpes vulpes", b"Vulpes lagopus"))
    counted.clear()
    second = prepare(settings(archive.url), root)
    assert not any(key.endswith(".JPG") for key in counted), counted
    assert second.version == 2 and second.document["pixels"] == first.document["pixels"]
    assert second.document["records"] != first.document["records"]
    assert "Vulpes lagopus" in second.records(["taxon"])["taxon"].to_pylist()
    assert second.attributes()["species"][: len(first.attributes()["species"])] == first.attributes()["species"]
    assert Dataset.open(root, "tiny", 1).check(read_data=True) == []


def captions_of(dataset: Dataset) -> dict[str, list[dict[str, object]]]:
    """Captions by sample."""
    rows = dataset.records(["sample_id", "captions"])
    return {row["sample_id"]: json.loads(row["captions"]) for row in rows.to_pylist()}


def test_a_language_added_rewrites_records_alone(archive: Store, root: Store, counted: Counter[str]) -> None:
    first = prepare(settings(archive.url), root)
    counted.clear()
    second = prepare(settings(archive.url, captions={"languages": ["eng", "fra", "deu"]}), root)
    assert not any(key.endswith(".JPG") for key in counted), counted
    assert second.version == 2 and second.document["pixels"] == first.document["pixels"]
    assert not {one["path"] for one in first.document["records"]} & {one["path"] for one in second.document["records"]}
    assert first.document["captions"] != second.document["captions"] == version(("eng", "fra", "deu"))
    before, after = captions_of(first), captions_of(second)
    assert {name: [one for one in own if one["language"] == "eng"] for name, own in after.items()} == before
    assert {one["language"] for own in after.values() for one in own} == {"eng", "fra", "deu"}
    texts = {str(one["text"]): one["name_source"] for own in after.values() for one in own}
    assert texts["Wildkamerabild: Rotfuchs"] == texts["image de piège photographique : renard roux"] == "archive"
    assert second.check(read_data=True) == [] == Dataset.open(root, "tiny", 1).check(read_data=True)


def test_a_name_that_comes_to_stand_for_more_rewrites_the_records_it_is_in(tmp_path: Path, root: Store) -> None:
    """Once a name of one species, "red fox" is shared when another survey gives it to a second one."""
    archives = [open_store(str(tmp_path / name)) for name in ("one", "two", "three")]
    for archive in archives:
        coco(archive)
    surveys = [coco_settings(archive.url).model_dump(mode="json")["surveys"][0] for archive in archives]
    surveys = [survey | {"name": name} for survey, name in zip(surveys, ("one", "two", "three"), strict=True)]
    for archive, name, scientific in (
        (archives[0], "red fox", "Vulpes vulpes"),
        (archives[1], "badger", "Meles meles"),
        (archives[2], "red fox", "Vulpes fulva"),
    ):
        document = json.loads(archive.read("metadata.json"))
        document["categories"][1] |= {"name": name, "scientific_name": scientific}
        archive.put("metadata.json", json.dumps(document).encode())
    before = prepare(coco_settings("", surveys=surveys[:2]), root)
    after = prepare(coco_settings("", surveys=surveys), root)
    old, new = ({one["survey"]: one["records_id"] for one in of.document["records"]} for of in (before, after))
    assert old["two"] == new["two"] and old["one"] != new["one"]
    at = NAMES.index("common_name")
    shared = after.attributes()["common_name"].index("red fox")
    codes = {row["survey"]: (row["codes"], json.loads(row["captions"])) for row in after.records().to_pylist()}
    for survey in ("one", "three"):
        own, texts = codes[survey]
        assert np.frombuffer(own, np.int32)[at] == shared == texts[0]["codes"][at]
        assert texts[0]["codes"][NAMES.index("species")] == -1
    assert np.frombuffer(codes["two"][0], np.int32)[at] == -1


def test_a_new_file_alone_is_read_and_changes_its_own_item(
    tmp_path: Path, root: Store, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "cut", partial(items.cut, most=4))
    archive = open_store(str(tmp_path / "coco"))
    images = coco(archive)
    first = prepare(coco_settings(archive.url), root)
    images.append({"id": "new", "file_name": "9/0.jpg", "location": "place 9", "category": 1})
    write_coco(archive, images, {"9/0.jpg": image(99)})
    counted.clear()
    second = prepare(coco_settings(archive.url), root)
    assert second.version == 2 and len(second.records()) == len(first.records()) + 1
    assert {key: size for key, size in counted.items() if key.endswith(".jpg")} == {"9/0.jpg": len(image(99))}
    assert splits(first).items() <= splits(second).items()
    rows = {row["key"]: row for row in second.ledger().to_pylist()}
    changed = {key for key, row in rows.items() if row["prepare_id"] == rows["9/0.jpg"]["prepare_id"]}
    item = {key for key, row in rows.items() if row["item"] == rows["9/0.jpg"]["item"]}
    assert changed == {*item, "metadata.json"} and len(item) <= 4


def test_of_a_zip_that_grew_the_new_member_alone_is_read(tmp_path: Path, root: Store, counted: Counter[str]) -> None:
    archive = open_store(str(tmp_path / "coco"))
    members = {f"{place}/{n}.jpg": image(10 * place + n) for place in range(6) for n in range(4)}
    grown = {"0/early.jpg": image(99)} | members
    images = [{"id": key, "file_name": f"x.zip!/{key}", "location": key[0], "category": 1} for key in grown]
    write_coco(archive, images[1:], {"x.zip": zip_of(members)})
    first = prepare(coco_settings(archive.url), root)
    write_coco(archive, images, {"x.zip": zip_of(grown)})
    counted.clear()
    second = prepare(coco_settings(archive.url), root)
    assert len(first.records()) == 24 and len(second.records()) == 25
    assert 0 < counted["x.zip"] < 2 * len(image(99))


def test_a_file_that_went_is_gone_and_stays_in_the_ledger(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    images = coco(archive)
    prepare(coco_settings(archive.url), root)
    archive.delete(["0/0.jpg"])
    write_coco(archive, images[1:], {})
    rows = {row["key"]: row for row in prepare(coco_settings(archive.url), root).ledger().to_pylist()}
    assert (
        rows["0/0.jpg"]["status"] == "gone" and sum(row["status"] == "ok" for row in rows.values()) == len(images) - 1
    )


def test_the_same_file_at_two_places_never_links_two_splits(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    same = {f"{place}/0.jpg": image(7) for place in range(6)}
    coco(archive, same)
    dataset = prepare(coco_settings(archive.url), root)
    kept = dataset.records(["split", "split_reason", "media_id"]).to_pylist()
    used = {row["split"] for row in kept if row["media_id"].endswith("-0") and row["split"] != "none"}
    left_out = [row for row in kept if row["split_reason"] == "cross_split_duplicate"]
    assert len(used) == 1 and left_out
    assert dataset.document["surveys"][0]["counts"]["ok/cross_split_duplicate"] == len(left_out)


def test_too_many_bad_files_are_refused_with_reasons_and_paths(
    archive: Store, root: Store, counted: Counter[str]
) -> None:
    with pytest.raises(DataRefused, match=r"survey tiny: 3 of 58 files gave no image.*0\.01: .*truncated 1 \(images/"):
        prepare(settings(archive.url, max_bad_share=0.01), root)
    assert list(root.list("datasets/tiny/versions")) == []
    counted.clear()
    assert prepare(settings(archive.url), root).version == 1
    assert not any(key.endswith(".JPG") for key in counted)  # what the refused run had read is not read again


def test_an_empty_archive_is_refused(tmp_path: Path, root: Store) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataRefused, match="survey coco: no file under"):
        prepare(coco_settings(str(tmp_path / "nothing")), root)


def test_one_place_leaves_nothing_to_validate_with(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    coco(archive, places=1)
    with pytest.raises(DataRefused, match="no image with a text in"):
        prepare(coco_settings(archive.url), root)
    assert list(root.list("datasets/coco/versions")) == []


def test_hostile_and_odd_files_are_rows_and_plain_text(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    script = '"><script>alert(1)</script>'
    odd = {"0/0.jpg": b"<html>", "1/x.jpg": image(5), "readme.txt": b"hello", "2/a%20é.png": b"\x89PNG\r\n\x1a\n"}
    write_coco(archive, coco(archive), odd, names=(script,))
    dataset = prepare(coco_settings(archive.url, max_bad_share=0.5), root)
    reasons = {row["key"]: row["reason"] for row in dataset.ledger().to_pylist()}
    assert reasons["0/0.jpg"] == reasons["readme.txt"] == "not_image" and reasons["2/a%20é.png"] == "truncated"
    unlabelled = dataset.records().filter(pc.field("media_id") == "1/x.jpg").to_pylist()[0]
    assert (unlabelled["split"], unlabelled["split_reason"], unlabelled["captions"]) == ("none", "unlabelled", b"[]")
    texts = [one["text"] for row in dataset.records(["captions"])["captions"].to_pylist() for one in json.loads(row)]
    assert f"a camera-trap image of a {script}" in texts
