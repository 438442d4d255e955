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
    assert found.detections.to_pylist() == [
        {"key": "img/a.jpg", "boxes": [], "confidences": [], "classes": [], "taxa": None}
    ]
    assert found.refused.counts == {"detector_failed": 3}
    assert found.media is below.media


def test_boxes_confidences_and_classes_by_the_files_own_names(tmp_path: Path) -> None:
    entries = [{"file": "img\\a.jpg", "detections": [box("7", 0.3), box("2", 0.8), box("1", 0.5), box("0", 0.9)]}]
    document = {"info": {"format_version": 1.3}, "detection_categories": {"1": "Animal", "2": "person", "7": "nest"}}
    found = overlay(tmp_path, entries, document=document).detections.to_pylist()[0]
    assert found["classes"] == ["human", "animal", "nest"]
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
    unsorted = box("1", 0.3) | {"classifications": [["1", 0.2], ["3", 0.7]]}
    entries = [
        {"file": "img/a.jpg", "detections": [box("2", 0.9), classified, unsorted]} | fields,
        {"file": "img/b.jpg", "detections": None, "failure": "image access failure"},
        *others,
    ]
    names = {"detection_categories": NAMES, "classification_categories": {"1": "fox", "3": "hare"}}
    found = overlay(tmp_path, entries, document={"info": info} | names)
    (row,) = found.detections.to_pylist()
    assert (row["key"], row["classes"]) == ("img/a.jpg", ["human", "animal", "animal"])
    assert row["confidences"] == pytest.approx([0.9, 0.4, 0.3])
    assert [one and json.loads(one)["label"] for one in row["taxa"]] == [None, "hare", "hare"]
    (said,) = found.observations.to_pylist()
    assert (said["media_id"], said["type"], json.loads(said["names"])) == ("img/a.jpg", "animal", {"eng": "hare"})
    assert said["confidence"] == pytest.approx(0.9)
    assert (said["level"], said["method"], said["origin"]) == ("media", "machine", "megadetector_classifier")
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


CLASSES = {"0": "blank", "1": "fox", "2": "Vulpes vulpes", "3": "hare", "4": "human", "5": "vehicle", "6": "unknown",
           "7": "animal", "8": "Canidae", "9": "#REF!", "10": "Vulpes", "11": "red_fox", "12": ""}  # fmt: skip
DESCRIPTIONS = {
    "1": "3e5b7c2a-0000-4000-8000-000000000001;mammalia;carnivora;canidae;vulpes;vulpes;red fox",
    "3": "hare",
    "4": "3e5b7c2a-0000-4000-8000-000000000002;mammalia;carnivora;canidae;vulpes;vulpes;red fox",
    "6": "990ae9dd-7a59-4344-afcb-1b7b21368000;mammalia;primates;hominidae;homo;sapiens;human",
}


def classified(*classes: Any, category: str = "1", conf: Any = 0.9, **fields: Any) -> dict[str, Any]:
    return box(category, conf) | {"classifications": list(classes)} | fields


def classes_of(folder: Path, *boxes: Any, descriptions: Any = None, **settings: Any) -> Survey:
    document = {"detection_categories": NAMES, "classification_categories": CLASSES}
    document |= {"classification_category_descriptions": descriptions} if descriptions else {}
    entries = [{"file": "img/a.jpg", "detections": list(boxes)}]
    chosen: dict[str, Any] = {"names": "scientific"} | settings
    return overlay(folder, entries, None, document=document, **chosen)


def said_of(survey: Survey) -> dict[str, Any]:
    """What each label says, by its name, with its score."""
    rows = survey.observations.to_pylist()
    names = [row["taxon"] or ", ".join(json.loads(row["names"] or "{}").values()) or row["type"] for row in rows]
    return {name: row["confidence"] and round(row["confidence"], 4) for name, row in zip(names, rows, strict=True)}


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([classified(["1", 0.95])], {"fox": 0.95}),
        ([classified([1, 0.3], ["3", 0.6])], {"hare": 0.6}),
        ([classified(["1", 0.7]), classified(["1", 0.9])], {"fox": 0.9}),
        ([classified(["1", 0.7]), classified(["3", 0.9])], {"fox": 0.7, "hare": 0.9}),
        ([classified(["7", 0.99]), classified(["1", 0.7])], {"fox": 0.7}),
        ([classified(["2", 0.7]), classified(["8", 0.9])], {"Vulpes vulpes": 0.7, "Canidae": 0.9}),
        ([classified(["2", 0.7]), classified(["10", 0.9])], {"Vulpes vulpes": 0.7}),
        ([classified(["11", 0.7])], {"red fox": 0.7}),
        ([classified(["1", 0.7]), classified(["0", 0.99]), classified(["6", 0.9])], {"fox": 0.7}),
        ([classified(["0", 0.9]), classified(["0", 0.6])], {"blank": 0.6}),
        ([classified(["0", 0.9]), classified(["6", 0.6])], {"unknown": 0.6}),
        ([classified(["4", 0.99])], {"human": 0.99}),
        ([classified(["5", 0.9]), classified(["1", 0.7])], {"vehicle": 0.9, "fox": 0.7}),
        ([classified(["7", 0.9])], {"animal": 0.9}),
        ([classified(), box()], {}),
        ([], {}),
    ],
)
def test_classes_of_boxes_say_one_thing_of_the_image(tmp_path: Path, boxes: list[Any], said: dict[str, float]) -> None:
    found = classes_of(tmp_path, *boxes)
    assert said_of(found) == said and found.refused.counts == {}


@pytest.mark.parametrize(
    ("beside", "blank"),
    [(box(conf=0.1), False), (box("2", 0.9), False), (7, False), (box(conf=None), False), (box(conf=0.09), True)],
)
def test_a_blank_box_says_nothing_beside_one_without_a_class(tmp_path: Path, beside: Any, blank: bool) -> None:
    found = classes_of(tmp_path, classified(["0", 0.9]), beside)
    assert said_of(found) == ({"blank": 0.9} if blank else {})
    assert found.refused.counts["not_classified"] == (not blank)
    assert said_of(classes_of(tmp_path, classified(["1", 0.9]), beside)) == {"fox": 0.9}


@pytest.mark.parametrize(
    ("classes", "counts", "said"),
    [
        ([["99", 0.9], ["1", 0.5]], {"bad_class": 1}, {"fox": 0.5}),
        ([["9", 0.9]], {"bad_class": 1}, {}),
        ([["12", 0.9]], {"bad_class": 1}, {}),
        ([["1", 1.7], ["3", None], ["3", 0.2]], {"bad_confidence": 2}, {"hare": 0.2}),
        (["1", ["1"], ["1", 0.9, 0.1], {"1": 0.9}], {"bad_class": 4}, {}),
        ([["4", None], ["1", 0.9]], {"bad_confidence": 1}, {"human": None}),
    ],
    ids=["no such id", "a spreadsheet's error", "no name", "no score", "no pair", "a person is sure"],
)
def test_bad_classes_are_counted_once(tmp_path: Path, classes: Any, counts: dict[str, int], said: Any) -> None:
    found = classes_of(tmp_path, classified(*classes))
    assert found.refused.counts == counts and said_of(found) == said


@pytest.mark.parametrize("names", [None, ["fox"]])
def test_classes_without_names_are_counted_and_no_error(tmp_path: Path, names: Any) -> None:
    entries = [{"file": "img/a.jpg", "detections": [classified(["1", 0.9]), box() | {"classifications": "fox"}]}]
    found = overlay(tmp_path, entries, document={"classification_categories": names})
    assert found.refused.counts == {"bad_class": 2} and found.observations.num_rows == 0
    assert len(found.detections["boxes"].to_pylist()[0]) == 2


def test_descriptions_say_the_taxon_and_hide_no_person(tmp_path: Path) -> None:
    boxes = [classified(["1", 0.9]), classified(["3", 0.8])]
    found = classes_of(tmp_path, *boxes, descriptions=DESCRIPTIONS)
    assert said_of(found) == {"Vulpes vulpes": 0.9, "hare": 0.8}
    row = next(row for row in found.observations.to_pylist() if row["taxon"])
    assert (row["rank"], json.loads(row["names"])) == ("species", {"eng": "red fox"})
    assert json.loads(row["lineage"])["family"] == "Canidae"
    assert said_of(classes_of(tmp_path, classified(["4", 0.9]), descriptions=DESCRIPTIONS)) == {"human": 0.9}
    assert said_of(classes_of(tmp_path, classified(["6", 0.9]), descriptions=DESCRIPTIONS)) == {"human": 0.9}


@pytest.mark.parametrize("identity", ["2", "10"])
def test_a_name_that_may_be_either_asks_for_the_setting(tmp_path: Path, identity: str) -> None:
    with pytest.raises(DataRefused, match=r"md\.json: the class 'Vulpes.*' may be a scientific or a common name; set"):
        classes_of(tmp_path, classified([identity, 0.9]), names=None)
    assert said_of(classes_of(tmp_path, classified(["1", 0.9]), names=None)) == {"fox": 0.9}
    found = classes_of(tmp_path, classified([identity, 0.9]), names="common")
    assert found.observations["taxon"].to_pylist() == [None] and list(said_of(found)) == [CLASSES[identity]]


def test_a_weak_box_has_no_class_and_failures_and_videos_have_none(tmp_path: Path) -> None:
    assert said_of(classes_of(tmp_path, classified(["1", 0.9], conf=0.15), threshold=0.2)) == {}
    assert said_of(classes_of(tmp_path, classified(["1", 0.9], frame_number=3))) == {}
    failed = {"file": "img/a.jpg", "failure": "inference failure", "detections": [classified(["1", 0.9])]}
    found = overlay(tmp_path, [failed], document={"classification_categories": CLASSES})
    assert found.observations.num_rows == 0 and found.refused.counts == {"detector_failed": 1}


def test_a_later_file_replaces_the_classes_of_what_it_names(tmp_path: Path) -> None:
    document = {"classification_categories": CLASSES}
    entries = [{"file": f"img/{name}.jpg", "detections": [classified(["1", 0.9])]} for name in "ab"]
    first = overlay(tmp_path, entries, document=document)
    again = [{"file": "img/a.jpg", "detections": [classified(["3", 0.8])]}, {"file": "img/b.jpg", "failure": "x"}]
    second = overlay(tmp_path, again, first, document=document)
    assert sorted(zip(*second.observations.select(["media_id", "label"]).to_pydict().values(), strict=True)) == [
        ("img/a.jpg", "hare"),
        ("img/b.jpg", "fox"),
    ]
    boxes_alone = overlay(tmp_path, [{"file": "img/a.jpg", "detections": []}], second)
    assert boxes_alone.observations == second.observations


def test_other_machines_and_people_keep_their_labels(tmp_path: Path) -> None:
    rows = SurveyRows()
    rows.media.add(media_id="img/a.jpg", key="img/a.jpg")
    rows.observations.add(media_id="img/a.jpg", level="media", type="blank", origin="coco_camera_traps")
    entries = [{"file": "img/a.jpg", "detections": [classified(["1", 0.9])]}]
    found = overlay(tmp_path, entries, rows.survey("test", 1), document={"classification_categories": CLASSES})
    assert found.observations["origin"].to_pylist() == ["coco_camera_traps", "megadetector_classifier"]
