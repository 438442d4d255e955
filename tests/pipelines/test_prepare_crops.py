"""Crops as training images: what a frame is cut into, what is said of a crop, and what a change reads again."""

import io
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.demo.survey import DETECTOR_KEY
from pipelines.prepare.crops import CropSettings, about_crop, box_name, crop_boxes, named_box
from pipelines.prepare.facts import Medium, facts
from pipelines.prepare.items import sample_id
from pipelines.prepare.settings import DataSettings
from tests.pipelines.labels import label, observation
from tests.pipelines.surveys import OBSERVATIONS, coco_settings, prepare, settings, write_coco
from tests.pipelines.test_prepare_flow import image

FOX, HARE = label("Vulpes vulpes", "species"), label("Lepus europaeus", "species")
LEFT, RIGHT = [0.1, 0.2, 0.2, 0.2], [0.6, 0.5, 0.3, 0.25]
CROPS: dict[str, Any] = {"crops": {"margin": 0.1}}


def detected(*boxes: tuple[list[float], float, str]) -> dict[str, Any]:
    columns = [list(column) for column in zip(*boxes, strict=True)] or [[], [], []]
    return dict(zip(("boxes", "confidences", "classes"), columns, strict=True))


def medium(*rows: dict[str, Any], detection: dict[str, Any] | None = None) -> Medium:
    return Medium({"captured_at": None}, list(rows), detection)


def boxes_of(one: Medium, **changes: Any) -> list[list[float]]:
    return [list(box) for box in crop_boxes(one, CropSettings(**changes), 0.2)]


def test_animals_of_the_detector_are_cut_out_the_most_confident_first():
    found = detected((RIGHT, 0.9, "animal"), (LEFT, 0.5, "animal"), ([0, 0, 1, 1], 0.9, "human"), (LEFT, 0.1, "animal"))
    assert boxes_of(medium(observation(FOX), detection=found)) == [RIGHT, LEFT]
    assert boxes_of(medium(detection=found), most=1) == [RIGHT]
    assert crop_boxes(medium(detection=found), None, 0.2) == ()


def test_a_label_with_a_box_comes_before_the_detector():
    found = detected((RIGHT, 0.9, "animal"))
    assert boxes_of(medium(observation(FOX, box=LEFT), detection=found)) == [LEFT]
    assert boxes_of(medium(observation(type="human", box=LEFT), detection=found)) == [RIGHT]


def test_labels_of_machines_place_animals_as_a_detector_does():
    def machine(box: list[float], confidence: float | None = None):
        return observation(FOX, box=box, confidence=confidence, method="machine")

    small, found = [0.4, 0.4, 0.1, 0.1], detected((RIGHT, 0.95, "animal"))
    assert boxes_of(medium(observation(HARE), machine(LEFT, 0.02), detection=found)) == [RIGHT]
    assert boxes_of(medium(machine(LEFT, 0.3), machine(small), machine(RIGHT, 0.9)), most=2) == [small, RIGHT]
    assert boxes_of(medium(machine(LEFT, 0.9), observation(HARE, box=RIGHT, confidence=0.1))) == [RIGHT]
    assert boxes_of(medium(machine(LEFT, 0.02))) == []


@pytest.mark.parametrize("detection", [None, detected(), detected((LEFT, 0.1, "animal"))])
def test_a_frame_without_a_box_of_an_animal_stays_whole(detection: Any):
    assert boxes_of(medium(observation(FOX), detection=detection)) == []


def test_a_name_gives_its_box_back():
    box = crop_boxes(medium(observation(FOX, box=[0.123456, 0.2, 1 / 3, 0.00001])), CropSettings(), 0.2)[0]
    assert box == (0.1235, 0.2, 0.3333, 0.0001) and named_box(box_name(box)) == box


def said(one: Medium, crop: list[float]) -> dict[str, Any]:
    return facts(about_crop(one, box_name(tuple(crop))), False, False, 0.2)  # pyright: ignore[reportArgumentType]


def test_a_crop_has_the_label_of_its_own_box_and_no_count():
    one = medium(observation(FOX, box=LEFT, count=1), observation(HARE, box=RIGHT, count=4, life_stage="adult"))
    fox, hare = said(one, LEFT), said(one, RIGHT)
    assert fox["taxon"]["value"] == "Vulpes vulpes" and hare["taxon"]["value"] == "Lepus europaeus"
    assert "count" not in hare and hare["life_stage"]["value"] == "adult" and "taxa" not in fox


def test_two_species_of_a_frame_leave_what_they_share_to_a_crop_of_neither_box():
    mammal = {"lineage": {"class": "Mammalia"}}
    one = medium(observation(FOX | mammal), observation(HARE | mammal))
    assert said(one, LEFT)["taxon"]["value"] == "Mammalia"


def rows(dataset: Dataset) -> list[dict[str, Any]]:
    """PIXELS and RECORDS rows, joined."""
    found = []
    for item in dataset.items:
        for group in range(-(-item.rows // 128)):
            pixels = dataset.read_group(item.index, group, "pixels").to_pylist()
            records = dataset.read_group(item.index, group, "records").to_pylist()
            found += [one | two for one, two in zip(pixels, records, strict=True)]
    return found


def animal_boxes(archive: Store) -> Counter[str]:
    """How many of at least 0.2 a frame has by key, as the detector's file says."""
    found = json.loads(archive.read(DETECTOR_KEY))
    boxes = Counter[str]()
    for one in found["images"]:
        shown = [box for box in one.get("detections") or [] if box["conf"] >= 0.2]
        boxes[f"images/{one['file']}"] = sum(box["category"] == "1" for box in shown)
    return boxes


def test_a_version_of_crops(archive: Store, root: Store):
    whole = prepare(settings(archive.url), root.child("whole"))
    dataset = prepare(settings(archive.url, **CROPS), root)
    assert dataset.check(read_data=True) == []
    boxes = animal_boxes(archive)
    found = Counter(row["key"] for row in rows(dataset))
    assert found == {row["key"]: max(1, boxes[row["key"]]) for row in rows(whole)}
    assert max(found.values()) > 1 and any(not boxes[key] for key in found)
    of_file = {row["key"]: (row["split"], row["width"], row["height"]) for row in rows(whole)}
    for row in rows(dataset):
        assert (row["split"], row["width"], row["height"]) == of_file[row["key"]] or row["split_reason"]
        assert row["sample_id"] == sample_id("tiny", row["media_id"], row["crop"] or "")
        assert (row["crop"] is not None) >= (boxes[row["key"]] > 0)  # a label may have a box that the detector lacks
        assert "count" not in json.loads(row["facts"]) or row["crop"] is None
    assert dataset.ledger(["key", "status"]).equals(whole.ledger(["key", "status"]))


def of_the_detector(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Crops of frames with several animals: there no label of this survey has a box."""
    crops = Counter(row["key"] for row in found)
    return [row for row in found if crops[row["key"]] > 1]


def test_the_animal_is_the_middle_of_its_crop(archive: Store, root: Store):
    """Its box has the crop's size less the margin, in the middle where the frame has room."""
    found = of_the_detector(rows(prepare(settings(archive.url, **CROPS), root)))
    assert len(found) > 5
    for row in found:
        placed = np.frombuffer(row["boxes"], "<f4").reshape(-1, 4)
        left, top, width, height = named_box(row["crop"])
        room = min(left, top, 1 - left - width, 1 - top - height) > 0.2
        assert np.isclose(placed[:, 2:].max(1), 1 / 1.2, atol=0.02).any() or max(width, height) > 0.8
        assert np.abs(placed[:, :2] + placed[:, 2:] / 2 - 0.5).max(1).min() < 0.02 or not room


def of_images(counted: Counter[str]) -> set[str]:
    return {key for key, size in counted.items() if size and key.lower().endswith(".jpg")}


def test_only_frames_that_are_cut_are_read_again(archive: Store, root: Store, counted: Counter[str]):
    prepare(settings(archive.url), root)
    counted.clear()
    dataset = prepare(settings(archive.url, **CROPS), root)
    assert of_images(counted) == {row["key"] for row in rows(dataset) if row["crop"]}
    counted.clear()
    assert prepare(settings(archive.url, **CROPS), root).digest == dataset.digest and of_images(counted) == set()


def test_a_changed_label_reads_nothing_and_a_moved_box_its_frame(archive: Store, root: Store, counted: Counter[str]):
    first = prepare(settings(archive.url, **CROPS), root)
    archive.put(OBSERVATIONS, archive.read(OBSERVATIONS).replace(b"Vulpes vulpes", b"Vulpes lagopus"))
    counted.clear()
    second = prepare(settings(archive.url, **CROPS), root)
    assert second.version == 2 and of_images(counted) == set()
    assert second.document["pixels"] == first.document["pixels"]
    found = json.loads(archive.read(DETECTOR_KEY))
    keys = {row["key"] for row in of_the_detector(rows(second))}
    moved = next(one for one in found["images"] if f"images/{one['file']}" in keys)
    next(box for box in moved["detections"] if box["category"] == "1")["bbox"] = [0.2, 0.2, 0.3, 0.3]
    archive.put(DETECTOR_KEY, json.dumps(found).encode())
    counted.clear()
    third = prepare(settings(archive.url, **CROPS), root)
    assert of_images(counted) == {f"images/{moved['file']}"} and third.check(read_data=True) == []
    assert "0.2000,0.2000,0.3000,0.3000" in {row["crop"] for row in rows(third)}


def turned_picture(orientation: int, size: tuple[int, int] = (64, 32)) -> bytes:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", size, (90, 120, 60)).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


STATED: dict[str, tuple[bytes, tuple[int, int] | None, bool | None, bool]] = {
    "upright": (turned_picture(1), (64, 32), False, True),
    "turned": (turned_picture(6), (32, 64), False, True),
    "stated before the turn": (turned_picture(6), (64, 32), True, False),
    "a smaller copy": (turned_picture(1), (641, 319), True, True),
    "nothing stated": (turned_picture(6), None, None, True),
}
"""The file, the size that the metadata state, whether it differs, and whether a crop is made of the label's box."""


def stated_sizes(archive: Store, **boxes: Any) -> DataSettings:
    """Foxes at six places, whose boxes are of frames of the size stated; and one of each of STATED."""
    store = archive.child("stated")
    rows = [{"id": f"{place}-{n}", "file_name": f"{place}/{n}.jpg", "location": str(place), "category": 1}
            for place in range(6) for n in range(2)]  # fmt: skip
    files = {str(row["file_name"]): image(number) for number, row in enumerate(rows)}
    for name, (data, stated, _, _) in STATED.items():
        size = {"width": stated[0], "height": stated[1]} if stated else {}
        rows.append({"id": name, "file_name": f"{name}.jpg", "location": "0", "category": 1} | size)
        files[f"{name}.jpg"] = data + name.encode()
    write_coco(store, rows, files)
    document = json.loads(store.read("metadata.json"))
    for annotation in document["annotations"]:
        annotation |= boxes if annotation["image_id"] in STATED else {}
    store.put("metadata.json", json.dumps(document).encode())
    return coco_settings(store.url, **CROPS)


def test_boxes_of_a_frame_of_another_shape_are_not_cut_and_are_counted(archive: Store, root: Store) -> None:
    data = stated_sizes(archive, bbox_relative=[0.1, 0.2, 0.3, 0.4])
    dataset = prepare(data, root)
    found = {row["key"]: row["size_differs"] for row in dataset.ledger().to_pylist()}
    pixels = [dataset.read_group(item.index, 0, "pixels", ["key", "crop"]).to_pylist() for item in dataset.items]
    crops = {row["key"]: row["crop"] for group in pixels for row in group}
    for name, (_, _, differs, cut) in STATED.items():
        assert (found[f"{name}.jpg"], crops[f"{name}.jpg"] is not None) == (differs, cut), name
    assert dataset.document["surveys"][0]["size_differs"] == 2
    assert prepare(data, root).document == dataset.document


def test_a_detectors_boxes_are_cut_whatever_size_is_stated(archive: Store, root: Store) -> None:
    data, store = stated_sizes(archive), archive.child("stated")
    name = "stated before the turn.jpg"
    box = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}
    results = {"info": {"format_version": "1.5"}, "images": [{"file": name, "detections": [box]}]}
    store.put("md.json", json.dumps(results).encode())
    survey = data.surveys[0].model_dump() | {"overlays": [{"kind": "megadetector", "path": "md.json"}]}
    dataset = prepare(coco_settings(store.url, surveys=[survey], **CROPS), root)
    pixels = [dataset.read_group(item.index, 0, "pixels", ["key", "crop"]).to_pylist() for item in dataset.items]
    assert [row["key"] for group in pixels for row in group if row["crop"]] == [name]
