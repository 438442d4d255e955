"""What overlays change of a version, and what they cost: records alone, but for items with a file that must leave."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.gc import free
from pipelines.prepare import items, listing
from pipelines.prepare.facts import FACTS_VERSION
from pipelines.prepare.listing import list_survey
from pipelines.prepare.records import RECORDS_VERSION
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.withdrawal import unlisted
from tests.pipelines.surveys import Reads, coco_settings, prepare, write_coco
from tests.pipelines.test_archive_zip import zip_of
from tests.pipelines.test_prepare_flow import coco, image
from tests.pipelines.test_prepare_same import picture
from tests.pipelines.test_sources_megadetector import box, classified
from tests.pipelines.test_sources_speciesnet import FOX, GOAT, HUMAN, new, old

LIST = "takedown.txt"
Prepared = Callable[..., Dataset]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Bytes read by key of every archive; items hold at most four files."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(listing.SurveySettings, "store", lambda self: Reads(self.archive, counts))
    monkeypatch.setattr(items, "cut", partial(items.cut, most=4))
    return counts


@pytest.fixture
def survey(tmp_path: Path) -> Store:
    """Foxes at six places, four frames each, one folder and so one item a place; and a file that no metadata name."""
    archive = open_store(str(tmp_path / "coco"))
    files = [f"{place}/{n}.jpg" for place in range(6) for n in range(4)] + ["0/x.jpg"]
    coco(archive, {key: image(9 * number) + key.encode() for number, key in enumerate(files)})
    archive.delete(["0/3.jpg"])
    return archive


def with_overlays(archive: Store, *overlays: dict[str, Any], **changes: Any) -> DataSettings:
    data = coco_settings(archive.url, max_bad_share=0.3, **changes)
    laid = data.surveys[0].model_dump() | {"overlays": overlays}
    return coco_settings(archive.url, max_bad_share=0.3, surveys=[laid], **changes)


def takedown(archive: Store, root: Store, *names: str) -> Dataset:
    content = "\n".join(names).encode()
    if archive.head(LIST) is None or archive.read(LIST) != content:
        archive.put(LIST, content)
    return prepare(dataset_settings(archive), root)


def dataset_settings(archive: Store) -> DataSettings:
    """With the list."""
    return with_overlays(archive, {"kind": "takedown", "path": LIST})


def images_read(counted: Counter[str]) -> set[str]:
    return {key for key in counted if key.endswith(".jpg")}


def statuses(dataset: Dataset, reason: str = "taken_down") -> dict[str, str]:
    return {row["key"]: row["status"] for row in dataset.ledger().to_pylist() if row["reason"] == reason}


def stored(dataset: Dataset) -> set[str]:
    """Keys of the images in the version's pixel parts."""
    groups = [dataset.read_group(item.index, 0, "pixels", ["key"]) for item in dataset.items]
    return {key for group in groups for key in group["key"].to_pylist()}


def sha256(archive: Store, key: str) -> str:
    return hashlib.sha256(archive.read(key)).hexdigest()


@pytest.mark.parametrize("name", ["1/2.jpg", "1-2", "sha256"])
def test_a_file_taken_down_leaves_the_next_version(
    survey: Store, root: Store, counted: Counter[str], name: str
) -> None:
    first = takedown(survey, root)
    counted.clear()
    second = takedown(survey, root, sha256(survey, "1/2.jpg").upper() if name == "sha256" else name)
    assert not images_read(counted), "the other frames of its item are copied"
    assert "1/2.jpg" in stored(first) and stored(second) == stored(first) - {"1/2.jpg"}
    assert statuses(second) == {"1/2.jpg": "withdrawn"}
    assert second.document["surveys"][0]["counts"]["withdrawn/taken_down"] == 1
    assert "1-2" not in second.records(["media_id"])["media_id"].to_pylist() and second.check(read_data=True) == []
    before = {part["item"] for part in first.document["pixels"]}
    (entry,) = second.document["withdrawn"]
    assert (entry["version"], entry["survey"], entry["files"]) == (2, "coco", 1)
    assert set(entry["items"]) == before - {part["item"] for part in second.document["pixels"]}
    kept = [part for part in first.document["pixels"] if part["item"] not in entry["items"]]
    assert all(part in second.document["pixels"] for part in kept) and len(kept) == len(first.document["pixels"]) - 1


def test_the_same_list_is_no_work_and_a_shorter_one_brings_nothing_back(
    survey: Store, root: Store, counted: Counter[str]
) -> None:
    first = takedown(survey, root, "1/2.jpg", "0/x.jpg")
    assert statuses(first) == {"1/2.jpg": "withdrawn", "0/x.jpg": "withdrawn"}
    assert not images_read(counted) & {"1/2.jpg", "0/x.jpg"}
    counted.clear()
    again = takedown(survey, root, "1/2.jpg", "0/x.jpg")
    assert (again.version, again.digest) == (1, first.digest) and not images_read(counted)
    shorter = takedown(survey, root, "0/x.jpg")
    assert statuses(shorter) == statuses(first) and not images_read(counted)
    without = prepare(with_overlays(survey), root)
    assert statuses(without) == statuses(first) and not images_read(counted)
    assert prepare(with_overlays(survey), root).version == without.version


@pytest.mark.parametrize("written", [r"1\2.jpg", "./1/2.jpg", r".\1\2.jpg"])
def test_a_path_is_taken_as_other_programs_write_it(survey: Store, root: Store, written: str) -> None:
    assert statuses(takedown(survey, root, written)) == {"1/2.jpg": "withdrawn"}
    assert statuses(takedown(survey, root)) == {"1/2.jpg": "withdrawn"}


def test_entries_that_match_nothing_are_named(survey: Store, root: Store, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = takedown(survey, root, "1/2.jpg", *(f"7/{n}.jpg" for n in range(8)), "0" * 64)
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "coco: 9 takedown entries match no file" in warning and "'7/0.jpg', '7/1.jpg'" in warning
    assert "1/2.jpg" not in warning and "'7/4.jpg', ...;" in warning
    (told,) = unlisted(list_survey(dataset_settings(survey), dataset_settings(survey).surveys[0]))
    assert "8 takedown entries name no file that is listed" in told and "0000" not in told
    survey.delete(["1/2.jpg"])
    assert takedown(survey, root, "1/2.jpg").version > dataset.version
    assert "warning" not in capsys.readouterr().err, "the ledger remembers what was withdrawn"


def test_what_matches_nothing_is_counted_and_no_error(survey: Store, root: Store) -> None:
    dataset = takedown(survey, root, "none.jpg", "0" * 64, "metadata.json", "1/2.jpg")
    assert dataset.document["surveys"][0]["metadata_refused"]["no_such_media"] == 3
    assert statuses(dataset) == {"1/2.jpg": "withdrawn"}


def test_a_copy_is_withdrawn_with_it(survey: Store, root: Store, counted: Counter[str]) -> None:
    survey.put("2/3.jpg", survey.read("1/2.jpg"))
    takedown(survey, root)
    counted.clear()
    dataset = takedown(survey, root, "1/2.jpg")
    assert statuses(dataset) == {"1/2.jpg": "withdrawn", "2/3.jpg": "withdrawn"}
    assert not images_read(counted) & {"1/2.jpg", "2/3.jpg"}


def test_withdrawn_bytes_do_not_come_back_under_another_key(survey: Store, root: Store, counted: Counter[str]) -> None:
    data = survey.read("0/x.jpg")
    takedown(survey, root)
    takedown(survey, root, "0/x.jpg")
    survey.delete(["0/x.jpg"])
    gone = takedown(survey, root)
    assert statuses(gone) == {"0/x.jpg": "gone"}
    survey.put("5/again.jpg", data)
    dataset = takedown(survey, root)
    assert statuses(dataset) == {"0/x.jpg": "gone", "5/again.jpg": "withdrawn"}
    assert "5/again.jpg" not in stored(dataset) and stored(dataset) == stored(gone)
    counted.clear()
    assert takedown(survey, root).version == dataset.version and not images_read(counted)


def test_a_copy_with_the_same_etag_of_content_and_size_is_not_even_read(
    survey: Store, root: Store, counted: Counter[str]
) -> None:
    """In a zip, whose members' etags are their CRC-32."""
    own, other = (image(number) for number in (7, 8))
    survey.put("more.zip", zip_of({"a.jpg": own, "b.jpg": other}))
    takedown(survey, root, "more.zip!/a.jpg")
    survey.put("more.zip", zip_of({"again.jpg": own, "b.jpg": other, "a.jpg": own}))
    counted.clear()
    dataset = takedown(survey, root, "more.zip!/a.jpg")
    assert statuses(dataset) == {f"more.zip!/{name}.jpg": "withdrawn" for name in ("a", "again")}
    assert dataset.ledger().filter(pc.field("key") == "more.zip!/again.jpg")["sha256"].to_pylist() == [None]
    assert "more.zip!/b.jpg" in stored(dataset)


def test_files_of_a_directory_with_one_size_and_time_are_no_copies(tmp_path: Path, root: Store) -> None:
    """As BMPs of one camera have, unpacked in the same second: a local etag is of the time and the size."""
    archive = open_store(str(tmp_path / "coco"))
    keys = [f"{place}/{n}.bmp" for place in range(6) for n in range(4)]
    files = {key: picture(number) for number, key in enumerate(keys)}
    rows = [{"id": key, "file_name": key, "location": key[0], "category": 1} for key in keys if key[2] != "3"]
    write_coco(archive, [*rows[1:], rows[0] | {"category": 2}], files, ("red fox", "human"))
    for path in Path(archive.url).rglob("*.bmp"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert len({(entry.etag, entry.size) for entry in archive.list() if entry.key.endswith("bmp")}) == 1
    dataset = takedown(archive, root, "1/0.bmp")
    assert statuses(dataset, "withheld") == {"0/0.bmp": "rejected"} and statuses(dataset) == {"1/0.bmp": "withdrawn"}
    assert stored(dataset) == {*keys} - {"0/0.bmp", "1/0.bmp"}


def test_a_hash_that_nobody_knew_yet_is_found_by_reading(survey: Store, root: Store, counted: Counter[str]) -> None:
    dataset = takedown(survey, root, sha256(survey, "1/2.jpg"))
    assert statuses(dataset) == {"1/2.jpg": "withdrawn"} and "1/2.jpg" not in stored(dataset)
    assert dataset.document["surveys"][0]["metadata_refused"].get("no_such_media") is None
    counts = Counter(counted)
    sizes = {key: len(survey.read(key)) for key in images_read(counts)}
    assert {key for key, read in counts.items() if read > sizes.get(key, read)} == {"1/0.jpg", "1/1.jpg", "1/3.jpg"}


def test_a_withdrawn_file_that_the_archive_lost_is_remembered(survey: Store, root: Store) -> None:
    takedown(survey, root)
    data = survey.read("1/2.jpg")
    survey.delete(["1/2.jpg"])
    assert statuses(takedown(survey, root, "1-2"))["1/2.jpg"] == "withdrawn"  # the metadata still name it
    assert statuses(prepare(with_overlays(survey), root)) == {"1/2.jpg": "withdrawn"}
    survey.put("1/2.jpg", data)
    assert statuses(prepare(with_overlays(survey), root)) == {"1/2.jpg": "withdrawn"}


def test_a_correction_reads_no_image_byte(survey: Store, root: Store, counted: Counter[str]) -> None:
    first = prepare(with_overlays(survey), root)
    survey.put("review.csv", b"key,scientific_name,count\n1/2.jpg,Meles meles,2\n3/1.jpg,,\n")
    counted.clear()
    second = prepare(with_overlays(survey, {"kind": "corrections", "path": "review.csv"}), root)
    assert not images_read(counted) and second.document["pixels"][:-1] == first.document["pixels"][:-1]
    rows = {row["media_id"]: row for row in second.records(["media_id", "taxon", "facts"]).to_pylist()}
    assert rows["1-2"]["taxon"] == "Meles meles"
    taxon = json.loads(rows["1-2"]["facts"])["taxon"]
    assert taxon["source"] == "corrections/human" and json.loads(rows["1-2"]["facts"])["count"]["value"] == 2
    assert {name: row["taxon"] for name, row in rows.items() if name != "1-2"} == {
        row["media_id"]: row["taxon"]
        for row in first.records(["media_id", "taxon"]).to_pylist()
        if row["media_id"] != "1-2"
    }
    changed = [
        (old_part, new_part)
        for old_part, new_part in zip(first.document["records"], second.document["records"], strict=True)
        if old_part != new_part
    ]
    assert len(changed) == 1


def test_a_correction_that_names_a_person_makes_one_item_again(
    survey: Store, root: Store, counted: Counter[str]
) -> None:
    prepare(with_overlays(survey), root)
    survey.put("review.csv", b"key,type\n1/2.jpg,human\n")
    counted.clear()
    dataset = prepare(with_overlays(survey, {"kind": "corrections", "path": "review.csv"}), root)
    assert statuses(dataset, "withheld") == {"1/2.jpg": "rejected"}
    assert not images_read(counted)


def test_speciesnet_labels_what_nobody_labelled_and_is_quoted_everywhere(
    survey: Store, root: Store, counted: Counter[str]
) -> None:
    without_label(survey, "1-2")
    prepare(with_overlays(survey), root)
    entries = [old("1/2.jpg", FOX, 0.8), old("2/0.jpg", FOX.replace("vulpes;vulpes;red fox", "canis;lupus;wolf"), 0.7)]
    survey.put("sn.json", json.dumps({"predictions": [*entries, old("3/1.jpg", HUMAN)]}).encode())
    counted.clear()
    dataset = prepare(with_overlays(survey, {"kind": "speciesnet", "path": "sn.json"}), root)
    assert not images_read(counted) and statuses(dataset, "withheld").keys() == {"3/1.jpg"}
    rows = {row["media_id"]: row for row in dataset.records(["media_id", "taxon", "facts", "incumbents"]).to_pylist()}
    assert rows["1-2"]["taxon"] == "Vulpes vulpes"
    assert json.loads(rows["1-2"]["facts"])["taxon"]["source"] == "speciesnet/machine"
    assert rows["2-0"]["taxon"] is None  # the archive only has the name "red fox"
    assert json.loads(rows["2-0"]["facts"])["taxon"]["names"] == {"eng": "red fox"}
    said = json.loads(rows["2-0"]["incumbents"])
    assert [(one["origin"], one["taxon"], one["confidence"]) for one in said] == [("speciesnet", "Canis lupus", 0.7)]
    assert rows["4-0"]["incumbents"] is None


def without_label(archive: Store, *media_ids: str) -> None:
    images = json.loads(archive.read("metadata.json"))
    images["annotations"] = [one for one in images["annotations"] if one["image_id"] not in media_ids]
    archive.put("metadata.json", json.dumps(images).encode())


def test_speciesnet_says_nothing_of_a_frame_whose_detector_failed(survey: Store, root: Store) -> None:
    without_label(survey, "1-2", "1-3")
    failed = {"filepath": "1/2.jpg", "failures": ["DETECTOR"], "detections": [], "model_version": "4.0.3a"}
    survey.put("sn.json", json.dumps({"predictions": [failed, new("1/3.jpg")]}).encode())
    dataset = prepare(with_overlays(survey, {"kind": "speciesnet", "path": "sn.json"}), root)
    rows = {row["media_id"]: row for row in dataset.records(["media_id", "split", "facts", "n_boxes"]).to_pylist()}
    assert (rows["1-2"]["split"], rows["1-2"]["n_boxes"]) == ("none", None)
    assert "type" not in json.loads(rows["1-2"]["facts"]) and rows["1-3"]["n_boxes"] == 0
    assert json.loads(rows["1-3"]["facts"])["type"]["value"] == "blank"


def test_classes_in_megadetectors_file_label_frames_and_withhold_people(
    survey: Store, root: Store, counted: Counter[str]
) -> None:
    without_label(survey, "1-2", "1-3", "3-1")
    first = prepare(with_overlays(survey), root)
    boxes = {
        "1/2.jpg": [classified(["0", 0.95], conf=0.6), box("1", 0.5), classified(["0", 0.7], bbox=[2, 2, 1, 1])],
        "1/3.jpg": [classified(["0", 0.6])],
        "2/0.jpg": [classified(["2", 0.8])],
        "3/1.jpg": [classified(["1", 0.99])],
        "4/0.jpg": [box()],
    }
    images = [{"file": file, "detections": found} for file, found in boxes.items()]
    names = {"0": "Vulpes vulpes", "1": "human", "2": "hare"}
    document = {"info": {"format_version": "1.6"}, "classification_categories": names, "images": images}
    survey.put("md.json", json.dumps(document).encode())
    survey.put("sn.json", json.dumps({"predictions": [old("1/3.jpg", GOAT, 0.3)]}).encode())
    machines = [{"kind": "megadetector", "path": "md.json", "names": "scientific"}]
    machines += [{"kind": "speciesnet", "path": "sn.json"}]
    counted.clear()
    dataset = prepare(with_overlays(survey, *machines), root)
    assert not images_read(counted) and statuses(dataset, "withheld") == {"3/1.jpg": "rejected"}
    assert "3/1.jpg" not in stored(dataset)
    columns = ["media_id", "split", "taxon", "facts", "captions", "incumbents", "n_boxes", "box_taxon"]
    rows = {row["media_id"]: row for row in dataset.records(columns).to_pylist()}
    fox = rows["1-2"]
    assert (fox["taxon"], fox["n_boxes"]) == ("Vulpes vulpes", 2) and fox["split"] != "none"
    assert json.loads(fox["facts"])["taxon"]["source"] == "megadetector_classifier/machine"
    own, other = json.loads(fox["box_taxon"])
    assert (own["taxon"], own["rank"], own["confidence"], other) == ("Vulpes vulpes", "species", 0.95, None)
    said = [(one["origin"], one["taxon"], one["confidence"]) for one in json.loads(fox["incumbents"])]
    assert said == [("megadetector_classifier", "Vulpes vulpes", 0.95), ("megadetector", None, 0.6)]
    assert rows["1-3"]["taxon"] == "Capra aegagrus hircus", "SpeciesNet stands above"
    assert json.loads(rows["2-0"]["facts"])["taxon"]["names"] == {"eng": "red fox"}, "people stand above"
    assert rows["4-0"]["box_taxon"] is None and rows["4-0"]["n_boxes"] == 1
    before = {part["records_id"] for part in first.document["records"]}
    assert {part["records_id"] for part in dataset.document["records"]} & before, "other items' records are kept"


def test_parts_made_before_these_columns_and_rules_are_made_again_without_reading(
    survey: Store, root: Store, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.prepare.records.RECORDS_VERSION", RECORDS_VERSION - 1)
    monkeypatch.setattr("pipelines.prepare.records.FACTS_VERSION", FACTS_VERSION - 1)
    first = prepare(with_overlays(survey), root)
    monkeypatch.undo()
    counts: Counter[str] = Counter()
    monkeypatch.setattr(listing.SurveySettings, "store", lambda self: Reads(self.archive, counts))
    monkeypatch.setattr(items, "cut", partial(items.cut, most=4))
    second = prepare(with_overlays(survey), root)
    assert second.document["pixels"] == first.document["pixels"] and not images_read(counts)
    assert {part["records_id"] for part in second.document["records"]}.isdisjoint(
        part["records_id"] for part in first.document["records"]
    )


def test_after_gc_a_file_taken_down_is_in_no_object(survey: Store, root: Store) -> None:
    """Also where the bytes under the key had changed before, so that only their hash tells the oldest version's."""
    survey.put("2/3.jpg", survey.read("1/2.jpg"))
    first = takedown(survey, root)
    rows = [row for item in first.items for row in first.read_group(item.index, 0, "pixels").to_pylist()]
    image = next(row["image"] for row in rows if row["key"] == "1/2.jpg")
    survey.put("1/2.jpg", survey.read("0/0.jpg") + b"changed")
    takedown(survey, root)
    third = takedown(survey, root, "2/3.jpg")
    assert statuses(third) == {"2/3.jpg": "withdrawn"}
    assert any(image in root.read(entry.key) for entry in root.list())
    assert free(root, "coco", timedelta(0), lease=5.0).kept == [3]
    assert not [entry.key for entry in root.list() if image in root.read(entry.key)]
    assert third.check(read_data=True) == []
