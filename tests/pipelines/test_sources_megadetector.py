"""MegaDetector results of every format version, laid over a survey."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.storage import NotFound, open_store
from pipelines.errors import DataRefused
from pipelines.sources import CocoCameraTraps, MegaDetector
from pipelines.sources.rows import SurveyRows
from pipelines.sources.schema import Survey

NAMES = {"1": "animal", "2": "person", "3": "vehicle"}


def survey(*keys: str) -> Survey:
    rows = SurveyRows()
    for key in keys:
        rows.media.add(media_id=key, key=key)
    return rows.survey("test", len(keys))


def box(category: str = "1", conf: Any = 0.9, bbox: Any = (0.1, 0.2, 0.3, 0.4)) -> dict[str, Any]:
    return {"category": category, "conf": conf, "bbox": bbox}


def overlay(folder: Path, entries: list[Any], below: Survey | None = None, **settings: Any) -> Survey:
    document = settings.pop("document", {"info": {"format_version": "1.6"}, "detection_categories": NAMES})
    (folder / "md.json").write_text(json.dumps({"images": entries, **document}))
    source = MegaDetector(kind="megadetector", path="md.json", **settings)
    return source.read(open_store(str(folder)), below or survey("img/a.jpg", "img/b.jpg"))


def test_nothing_found_and_not_known_are_told_apart(tmp_path: Path) -> None:
    entries = [
        {"file": "a.jpg", "detections": []},
        {"file": "b.jpg", "detections": None, "failure": "inference failure"},
        {"file": "c.jpg", "detections": None},
        {"file": "d.jpg"},
    ]
    below = survey(*(f"img/{name}.jpg" for name in "abcde"))
    found = overlay(tmp_path, entries, below, images_prefix="img/")
    assert found.detections.to_pylist() == [{"key": "img/a.jpg", "boxes": [], "confidences": [], "classes": []}]
    assert found.refused.counts == {"detector_failed": 3}
    assert found.media is below.media


def test_boxes_confidences_and_classes_by_the_files_own_names(tmp_path: Path) -> None:
    entries = [{"file": "img\\a.jpg", "detections": [box("7", 0.3), box("2", 0.8), box("1", 0.5), box("0", 0.9)]}]
    document = {"info": {"format_version": 1.3}, "detection_categories": {"1": "Animal", "2": "person", "7": "drone"}}
    found = overlay(tmp_path, entries, document=document).detections.to_pylist()[0]
    assert found["classes"] == ["human", "animal", "drone"]
    assert found["confidences"] == pytest.approx([0.8, 0.5, 0.3])
    assert found["boxes"][0] == pytest.approx([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("detection", "reason", "kept"),
    [
        (box(bbox=[0.9, 0.9, 0.2, 0.2]), "clipped_box", [0.9, 0.9, 0.1, 0.1]),
        (box(bbox=[-0.1, 0.0, 0.2, 0.2]), "clipped_box", [0.0, 0.0, 0.1, 0.2]),
        (box(bbox=[0.9, 0.0, 0.1002, 0.2]), None, [0.9, 0.0, 0.1, 0.2]),
        (box(bbox=[0.5, 0.5, 0.0, 0.2]), "empty_box", None),
        (box(bbox=[0.5, 0.5, 0.2]), "bad_box", None),
        (box(bbox=None), "bad_box", None),
        (box(bbox=[0.5, 0.5, "x", 0.2]), "bad_box", None),
        (box(conf=1.5), "bad_confidence", None),
        (box(conf=None), "bad_confidence", None),
        (box(conf=float("nan")), "bad_confidence", None),
        ("animal", "bad_box", None),
    ],
)
def test_boxes_are_checked(tmp_path: Path, detection: Any, reason: str | None, kept: Any) -> None:
    found = overlay(tmp_path, [{"file": "img/a.jpg", "detections": [detection]}])
    assert found.detections["boxes"].to_pylist() == [[pytest.approx(kept, abs=1e-6)] if kept else []]
    assert found.refused.counts == ({reason: 1} if reason else {})


def test_the_most_confident_boxes_are_kept(tmp_path: Path) -> None:
    entries = [{"file": "img/a.jpg", "detections": [box(conf=0.01 * n) for n in range(60)]}]
    found = overlay(tmp_path, entries, max_boxes=3, threshold=0.1)
    assert found.detections["confidences"].to_pylist() == [pytest.approx([0.59, 0.58, 0.57])]
    assert found.refused.counts == {"too_many_boxes": 47}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("img/z.jpg", "no_such_media"),
        ("a.jpg", "no_such_media"),
        ("IMG/a.jpg", "no_such_media"),
        ("/img/b.jpg", "absolute_path"),
        ("../b.jpg", "parent_path"),
        ("img/a.jpg", "duplicate_entry"),
        (None, "no_path"),
    ],
)
def test_entries_join_by_exact_relative_path(tmp_path: Path, file: Any, reason: str) -> None:
    found = overlay(tmp_path, [{"file": "img/a.jpg", "detections": []}, {"file": file, "detections": []}])
    assert found.detections["key"].to_pylist() == ["img/a.jpg"]
    assert found.refused.counts == {reason: 1}


def test_a_later_overlay_replaces_only_what_it_names(tmp_path: Path) -> None:
    first = overlay(tmp_path, [{"file": "img/a.jpg", "detections": []}, {"file": "img/b.jpg", "detections": []}])
    second = overlay(tmp_path, [{"file": "img/b.jpg", "detections": [box()]}], first)
    assert {row["key"]: len(row["boxes"]) for row in second.detections.to_pylist()} == {"img/a.jpg": 0, "img/b.jpg": 1}


def test_paths_as_another_machine_wrote_them(tmp_path: Path) -> None:
    entries = [{"file": "C:\\surveys\\ridge\\a.jpg", "detections": []}, {"file": "./b.jpg", "detections": []}]
    found = overlay(tmp_path, entries, images_prefix="img", cut_prefix="C:\\surveys\\ridge\\")
    assert found.detections["key"].to_pylist() == ["img/a.jpg", "img/b.jpg"]
    assert found.refused.counts == {}


def test_videos_are_no_images_and_do_not_make_a_file_foreign(tmp_path: Path) -> None:
    """Format 1.4 asks a video's entry for frame_rate and its detections for frame_number, 1.5 for frames_processed."""
    entries = [
        {"file": "v.mp4", "frame_rate": 30.0, "frames_processed": [0, 30], "detections": []},
        {"file": "img/a.jpg", "detections": [box() | {"frame_number": 30}]},
    ]
    found = overlay(tmp_path, entries)
    assert found.detections.num_rows == 0 and found.refused.counts == {"video": 2}


@pytest.mark.parametrize("categories", [NAMES, NAMES | {"0": "empty"}, NAMES | {"0": " Blank"}])
def test_category_0_is_a_box_of_nothing(tmp_path: Path, categories: dict[str, str]) -> None:
    document = {"info": {"format_version": "1.6"}, "detection_categories": categories}
    found = overlay(tmp_path, [{"file": "img/a.jpg", "detections": [box("0"), box("9")]}], document=document)
    assert found.detections["classes"].to_pylist() == [["unknown"]]
    assert found.refused.counts == {}


@pytest.mark.parametrize(
    "failure", ["image access failure", "inference failure", "Failure image access", "Failure inference"]
)
def test_a_failure_of_any_spelling_is_no_result(tmp_path: Path, failure: str) -> None:
    entries = [{"file": "img/a.jpg", "failure": failure, "detections": []}, {"file": "img/b.jpg", "detections": []}]
    found = overlay(tmp_path, entries)
    assert found.detections["key"].to_pylist() == ["img/b.jpg"] and found.refused.counts == {"detector_failed": 1}


@pytest.mark.parametrize(
    "info", [{}, {"format_version": "1.0"}, {"format_version": 1.2}, {"format_version": "1.6"}, None]
)
def test_formats_1_0_to_1_6(tmp_path: Path, info: Any) -> None:
    entry = {"file": "img/a.jpg", "max_detection_conf": 0.9, "detections": [box("2")]}
    document = {} if info is None else {"info": info}
    assert overlay(tmp_path, [entry], document=document).detections["classes"].to_pylist() == [["human"]]


WITH_LIKELIEST: dict[str, Any] = {"max_detection_conf": 0.9}
"""Of an image's entry up to 1.2."""
VIDEO: dict[str, Any] = {"file": "v.mp4", "frame_rate": 30.0, "detections": [box() | {"frame_number": 0}]}
PROCESSED: dict[str, Any] = VIDEO | {"frames_processed": [0, 30]}
METADATA = {"detector_metadata": {"megadetector_version": "v5a", "typical_detection_threshold": 0.2}}


@pytest.mark.parametrize(
    ("info", "fields", "others"),
    [
        ({}, WITH_LIKELIEST, []),
        ({"format_version": "1.0"}, WITH_LIKELIEST, []),
        ({"format_version": 1.1}, WITH_LIKELIEST, []),
        ({"format_version": "1.2"} | METADATA, WITH_LIKELIEST, []),
        ({"format_version": "1.3"} | METADATA, {}, []),
        ({"format_version": 1.3}, {}, []),
        ({"format_version": "1.4"} | METADATA, {}, [VIDEO]),
        ({"format_version": 1.4}, {}, [VIDEO]),
        ({"format_version": "1.5"} | METADATA, {}, [PROCESSED]),
        ({"format_version": 1.5}, {}, [PROCESSED]),
        ({"format_version": "1.6"} | METADATA, {}, [PROCESSED]),
    ],
    ids=str,
)
def test_each_version_as_its_writers_write_it(
    tmp_path: Path, info: dict[str, Any], fields: dict[str, Any], others: list[Any]
) -> None:
    """1.2 brought detector_metadata, 1.3 dropped max_detection_conf, 1.4 asks videos for their frames; versions were
    numbers in some files before 1.6."""
    classified = box("1", 0.4) | {"classifications": [["3", 0.9], ["1", 0.05]]}
    entries = [
        {"file": "img/a.jpg", "detections": [box("2", 0.9), classified]} | fields,
        {"file": "img/b.jpg", "detections": None, "failure": "image access failure"},
        *others,
    ]
    names = {"detection_categories": NAMES, "classification_categories": {"1": "fox", "3": "hare"}}
    found = overlay(tmp_path, entries, document={"info": info} | names)
    (row,) = found.detections.to_pylist()
    assert (row["key"], row["classes"]) == ("img/a.jpg", ["human", "animal"])
    assert row["confidences"] == pytest.approx([0.9, 0.4])
    assert found.refused.counts == {"detector_failed": 1} | ({"video": 1} if others else {})


@pytest.mark.parametrize("version", ["2.0", "0.9", "new", None])
def test_another_format_is_refused(tmp_path: Path, version: Any) -> None:
    with pytest.raises(DataRefused, match=r"md\.json: format_version .* is not one of"):
        overlay(tmp_path, [], document={"info": {"format_version": version}})


def test_the_results_of_another_survey_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=r"none of its 2 files .* 'x\.jpg'; are images_prefix ''"):
        overlay(tmp_path, [{"file": "x.jpg", "detections": []}, {"file": "y.jpg", "detections": []}])


def test_a_file_that_is_missing_or_no_json_is_named(tmp_path: Path) -> None:
    source = MegaDetector(kind="megadetector", path="md.json")
    with pytest.raises(NotFound, match=r"md\.json"):
        source.read(open_store(str(tmp_path)), survey("a"))
    (tmp_path / "md.json").write_text("{")
    with pytest.raises(DataRefused, match=r"md\.json: not valid JSON"):
        source.read(open_store(str(tmp_path)), survey("a"))


@pytest.mark.data
def test_the_real_detections(data_dir: Path) -> None:
    store = open_store(str(data_dir / "cameratraps"))
    source = CocoCameraTraps(kind="coco_camera_traps", metadata="annotations.cct.json", images_prefix="images")
    over = MegaDetector(kind="megadetector", path="detections.megadetector.json", images_prefix="images")
    found = over.read(store, source.read(store))
    assert found.detections.num_rows == 820
    assert found.refused.counts == {}
    assert set(found.detections["key"].to_pylist()) == set(found.media["key"].to_pylist())
