"""Labels of a whole event: which frames they reach, what becomes of the others, and what the user is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.storage import Store, open_store
from pipelines.errors import DataRefused
from pipelines.prepare import verb
from pipelines.prepare.event_labels import WITHOUT_BOX, WITHOUT_DETECTOR, kept_back, reaching
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.verb import told
from tests.pipelines.labels import frame, label, observation
from tests.pipelines.road import write_recipe
from tests.pipelines.surveys import coco_settings, prepare, write_coco
from tests.pipelines.test_prepare_flow import image

FOX = label("Vulpes vulpes", "species", eng="red fox")
EVENT = observation(FOX, level="event", count=3)


def boxes(*confidences: float, name: str = "animal") -> dict[str, Any]:
    count = len(confidences)
    return {"classes": [name] * count, "confidences": list(confidences), "boxes": [[0, 0, 1, 1]] * count}


def test_a_label_of_the_event_reaches_only_frames_with_an_animal_box() -> None:
    for without in (boxes(), boxes(0.1), boxes(0.9, name="human"), None):
        assert "taxon" not in frame(EVENT, boxes=without) and "type" not in frame(EVENT, boxes=without)
    reached = frame(EVENT, boxes=boxes(0.9))
    assert reached["taxon"]["value"] == "Vulpes vulpes" and "count" not in reached
    assert frame(observation(FOX), boxes=boxes())["taxon"]["value"] == "Vulpes vulpes"


def test_an_empty_event_is_empty_in_every_frame_and_a_labelled_one_in_none() -> None:
    blank = observation(level="event", type="blank")
    assert frame(blank)["type"]["value"] == frame(blank, boxes=boxes())["type"]["value"] == "blank"
    assert "type" not in frame(blank, EVENT) and "type" not in frame(blank, EVENT, boxes=boxes())
    assert frame(observation(type="blank"), EVENT)["type"]["value"] == "blank"  # somebody looked at this frame


ROWS = st.lists(
    st.builds(
        lambda level, kind: observation(level=level, type=kind),
        st.sampled_from(["media", "event"]),
        st.sampled_from(["animal", "blank", "human", "unknown"]),
    )
)
DETECTIONS = st.one_of(st.none(), st.builds(boxes, st.floats(0, 1)), st.just(boxes()))


@given(ROWS, DETECTIONS, st.booleans())
def test_labels_of_frames_are_never_kept_back(rows: list[dict[str, Any]], detection: Any, undetected: bool) -> None:
    found = reaching(rows, detection, 0.2, undetected)
    assert [row for row in found if row["level"] == "media"] == [row for row in rows if row["level"] == "media"]
    named = any(row["level"] == "media" and row["type"] != "unknown" for row in rows)
    reason = None if named else WITHOUT_BOX if detection else WITHOUT_DETECTOR
    assert len(found) == len(rows) or kept_back(rows, detection) == reason
    assert undetected <= (detection is not None or found == rows)


def test_a_frame_that_a_correction_silences_is_not_kept_back_by_its_event() -> None:
    silence = observation(origin="corrections", method="human", type="unknown")
    for detection in (boxes(0.9), boxes(), None):
        assert kept_back([EVENT, silence], detection) is kept_back([silence], detection) is None
        assert kept_back([EVENT, observation(type="unknown")], detection) is not None


def archive_of_events(archive: Store, detected: int) -> None:
    """Six places with four frames of a labelled event; a detector ran at the first `detected` places, and found an
    animal in two frames of each."""
    names = [f"{place}/{n}.jpg" for place in range(6) for n in range(4)]
    images = [{"id": name, "file_name": name, "location": name[0], "seq_id": name[0], "category": 1} for name in names]
    write_coco(archive, images, {name: image(n) for n, name in enumerate(names)})
    document = json.loads(archive.read("metadata.json"))
    for annotation in document["annotations"]:
        annotation["sequence_level_annotation"] = True
    archive.put("metadata.json", json.dumps(document).encode())
    animal = {"category": "1", "conf": 0.9, "bbox": [0, 0, 1, 1]}
    found = [{"file": name, "detections": [animal] * (name[2] < "2")} for name in names if int(name[0]) < detected]
    archive.put("detections.json", json.dumps({"images": found, "info": {"format_version": "1.6"}}).encode())


def data(archive: Store, overlays: bool, **changes: Any) -> DataSettings:
    survey = coco_settings(archive.url).surveys[0].model_dump(mode="json")
    overlay = [{"kind": "megadetector", "path": "detections.json"}] * overlays
    return coco_settings(archive.url, surveys=[survey | {"overlays": overlay}], **changes)


def test_frames_without_a_box_are_counted_and_the_remedy_is_told(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    archive_of_events(archive, detected=5)
    dataset = prepare(data(archive, overlays=True), root)
    assert dataset.document["surveys"][0]["unused"] == {WITHOUT_BOX: 10, WITHOUT_DETECTOR: 4}
    rows = dataset.records(["media_id", "split_reason", "taxon", "captions", "n_boxes"]).to_pylist()
    for row in rows:
        place, number = row["media_id"][0], row["media_id"][2]
        reason = WITHOUT_DETECTOR if place == "5" else WITHOUT_BOX if number > "1" else None
        assert (row["split_reason"], row["captions"] == b"[]") == (reason, reason is not None)
        assert (row["n_boxes"] is None) == (place == "5")
    lines = told(dataset)
    assert any("4 images are labelled by their event alone and no detector ran" in line for line in lines)
    assert any(f"in no split: {WITHOUT_BOX} 10, {WITHOUT_DETECTOR} 4" in line for line in lines)


def test_a_set_labelled_by_sequence_without_a_detector_is_refused_with_the_remedy(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    archive_of_events(archive, detected=0)
    with pytest.raises(DataRefused, match=r"24 images are labelled by their event alone.*add MegaDetector's results"):
        prepare(data(archive, overlays=False), root)
    assert list(root.list("work")) == [] and list(root.list("datasets/coco")) == []  # before any image was read
    dataset = prepare(data(archive, overlays=False, event_labels="always"), root)
    assert dataset.document["surveys"][0]["unused"] == {} and not any("detector" in line for line in told(dataset))
    assert all(captions != b"[]" for captions in dataset.records(["captions"])["captions"].to_pylist())


def test_too_few_detections_are_refused_with_the_remedy(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    archive_of_events(archive, detected=1)
    with pytest.raises(DataRefused, match=r"to train or validate with: 20 images are labelled by their event alone"):
        prepare(data(archive, overlays=True), root)


def test_a_dry_run_tells_the_remedy(tmp_path: Path) -> None:
    archive = open_store(str(tmp_path / "coco"))
    archive_of_events(archive, detected=5)
    tree = data(archive, overlays=True).model_dump(mode="json")
    recipe = str(write_recipe(tmp_path / "recipe.yaml", archive.url, str(tmp_path), data=tree))
    lines = verb.prepare((recipe,), dry_run=True).splitlines()
    assert any(line.startswith("coco: 4 images are labelled by their event alone") for line in lines)
    assert "event alone" not in verb.prepare((recipe, "data.event_labels=always"), dry_run=True)


def test_always_does_not_overrule_a_detector_that_ran(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    archive_of_events(archive, detected=5)
    dataset = prepare(data(archive, overlays=True, event_labels="always"), root)
    assert dataset.document["surveys"][0]["unused"] == {WITHOUT_BOX: 10}
