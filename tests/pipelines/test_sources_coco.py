"""COCO Camera Traps: the integrity rules, the shapes that real files come in, and the real frames."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.storage import NotFound, open_store
from pipelines.errors import DataRefused
from pipelines.sources import CocoCameraTraps
from pipelines.sources.schema import Survey


def image(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"i{number}", "file_name": f"a/{number}.jpg", "width": 200, "height": 100, **fields}


def label(image_id: str, category: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"{image_id}-{category}", "image_id": image_id, "category_id": category, **fields}


CATEGORIES = [{"id": 0, "name": "empty"}, {"id": 1, "name": "red fox", "scientific_name": "Vulpes vulpes"}]


def read(folder: Path, images: list[Any], annotations: list[Any], categories: list[Any] = CATEGORIES) -> Survey:
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "cct.json").write_text(json.dumps(document))
    return CocoCameraTraps(kind="coco_camera_traps", metadata="cct.json", images_prefix="images").read(
        open_store(str(folder))
    )


def test_fields_are_taken_as_they_stand(tmp_path: Path) -> None:
    full = image(
        1, location=7, seq_id="s", frame_num=2, datetime="2019-03-04 05:06:07", rights_holder="A B", corrupt=True
    )
    survey = read(tmp_path, [full], [label("i1", 1, count=2, bbox=[20, 10, 100, 50])])
    medium, fact = survey.media.to_pylist()[0], survey.observations.to_pylist()[0]
    assert medium["key"] == "images/a/1.jpg"
    assert (medium["place"], medium["event_id"], medium["frame"]) == ("7", "s", 2)
    assert (medium["captured_at"], medium["utc_offset"]) == ("2019-03-04 05:06:07", None)
    assert (medium["rights_holder"], medium["corrupt"], medium["public"]) == ("A B", True, None)
    assert (fact["type"], fact["taxon"], fact["rank"], fact["count"]) == ("animal", "Vulpes vulpes", "species", 2)
    assert json.loads(fact["names"]) == {"eng": "red fox"}
    assert fact["box"] == pytest.approx([0.1, 0.1, 0.5, 0.5])
    assert survey.refused.counts == {}


def test_counts_and_times_that_cannot_be_read_are_counted_by_their_row(tmp_path: Path) -> None:
    images = [image(1, datetime="yesterday"), image(2, date_captured="1970-01-01 00:00:00"), image(3), image(4)]
    counts = {1: "some", 2: 0, 3: "", 4: 2}
    annotations = [label(f"i{number}", 1, count=count) for number, count in counts.items()]
    survey = read(tmp_path, images, [*annotations, label("i1", 0, count=0)])
    assert survey.observations["count"].to_pylist() == [None, None, None, 2, None]
    assert survey.refused.counts == {"unreadable_time": 1, "year_out_of_range": 1, "bad_count": 2}
    assert survey.refused.examples == {
        "unreadable_time": ["i1 (aaaaaaaaa)"],
        "year_out_of_range": ["i2 (9999-99-99 99:99:99)"],
        "bad_count": ["annotation 'i1-1' of image 'i1'", "annotation 'i2-1' of image 'i2'"],
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"file_name": "http://x/y.jpg"}, "remote_url"),
        ({"file_name": "HTTPS://x/y.jpg"}, "remote_url"),
        ({"file_name": "file:///etc/passwd"}, "foreign_url"),
        ({"file_name": "s3://bucket/y.jpg"}, "foreign_url"),
        ({"file_name": "/etc/passwd"}, "absolute_path"),
        ({"file_name": "C:\\x\\y.jpg"}, "absolute_path"),
        ({"file_name": "\\\\server\\y.jpg"}, "absolute_path"),
        ({"file_name": "../y.jpg"}, "parent_path"),
        ({"file_name": "a\\..\\..\\y.jpg"}, "parent_path"),
        ({"file_name": "a/\x00.jpg"}, "bad_path"),
        ({"file_name": "a/" + "x" * 2000}, "bad_path"),
        ({"file_name": "a/\ud800.jpg"}, "bad_path"),
        ({"file_name": None}, "no_path"),
        ({"file_name": 5}, "no_path"),
        ({"id": None}, "no_id"),
        ({"id": "i1"}, "duplicate_id"),
        ({"file_name": "a/1.jpg"}, "duplicate_file"),
        ({"file_name": "a\\1.jpg"}, "duplicate_file"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_with_its_labels(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    survey = read(tmp_path, [image(1), {**image(2), **fields}], [label("i1", 1), label("i2", 1)])
    assert survey.media["media_id"].to_pylist() == ["i1"]
    assert survey.refused.counts[reason] == 1
    assert survey.observations["media_id"].to_pylist() == ["i1"]
    assert survey.refused.counts.total() == 2


def test_backslashes_become_slashes(tmp_path: Path) -> None:
    survey = read(tmp_path, [image(1, file_name="site\\cam\\1.jpg")], [])
    assert survey.media["key"].to_pylist() == ["images/site/cam/1.jpg"]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (label("i9", 1), "unknown_image"),
        (label("i1", 9), "unknown_category"),
        (label("i1", 2), "bad_label"),
        ({"id": 1}, "unknown_image"),
        (None, "bad_row"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_refused(tmp_path: Path, annotation: Any, reason: str) -> None:
    survey = read(tmp_path, [image(1)], [annotation], [*CATEGORIES, {"id": 2, "name": "#REF!"}])
    assert survey.observations.num_rows == 0
    assert survey.refused.counts == {reason: 1}


@pytest.mark.parametrize(
    ("fields", "box", "reason"),
    [
        ({"bbox_relative": [0.1, 0.2, 0.3, 0.4]}, [0.1, 0.2, 0.3, 0.4], None),
        ({"bbox": [0, 0, 200, 100]}, [0, 0, 1, 1], None),
        ({"bbox": [150, 50, 100, 100]}, [0.75, 0.5, 0.25, 0.5], "clipped_box"),
        ({"bbox": [300, 50, 10, 10]}, None, "empty_box"),
        ({"bbox": [1, 2, 3]}, None, "bad_box"),
        ({"bbox": [1, 2, 3, float("nan")]}, None, "bad_box"),
        ({"bbox": [1, 2, 3, 4], "bbox_relative": [0.1, 0.1, 0.1, 0.1]}, None, "two_boxes"),
    ],
)
def test_boxes_are_absolute_or_relative(tmp_path: Path, fields: Any, box: Any, reason: str | None) -> None:
    survey = read(tmp_path, [image(1)], [label("i1", 1, **fields)])
    found = survey.observations["box"].to_pylist()[0]
    assert found == (pytest.approx(box) if box else None)
    assert survey.refused.counts == ({reason: 1} if reason else {})


def test_an_absolute_box_needs_the_image_size(tmp_path: Path) -> None:
    survey = read(tmp_path, [image(1, width=None, height=None)], [label("i1", 1, bbox=[1, 2, 3, 4])])
    assert survey.observations["taxon"].to_pylist() == ["Vulpes vulpes"]
    assert survey.refused.counts == {"box_without_image_size": 1}


@pytest.mark.parametrize(
    ("name", "scientific", "expected"),
    [
        ("empty", None, ("blank", None, None)),
        ("Misfire", None, ("blank", None, None)),
        ("none", None, ("blank", None, None)),
        ("people", None, ("human", None, None)),
        ("visitor", "Homo sapiens", ("human", None, None)),
        ("car", None, ("vehicle", None, None)),
        ("unidentified", None, ("unknown", None, None)),
        ("unlabeled", None, ("unclassified", None, None)),
        ("animal", None, ("animal", None, None)),
        ("impala", None, ("animal", None, None)),
        ("impala", "Aepyceros melampus", ("animal", "Aepyceros melampus", "species")),
        ("dingo", "Canis lupus dingo", ("animal", "Canis lupus dingo", "subspecies")),
        ("deer", "Cervus sp.", ("animal", "Cervus", "genus")),
        ("cat", "Felis", ("animal", "Felis", "genus")),
        ("fox", "Canidae", ("animal", "Canidae", "family")),
        ("rodent", "Rodentia", ("animal", "Rodentia", "order")),
        ("pigeon", "Columbiformes", ("animal", "Columbiformes", "order")),
        ("bird", "Aves", ("animal", "Aves", "class")),
        ("odd", "<b>x</b>", ("animal", "<b>x</b>", None)),
    ],
)
def test_categories_become_types_taxa_and_ranks(
    tmp_path: Path, name: str, scientific: str | None, expected: Any
) -> None:
    category = {"id": 1, "name": name, "scientific_name": scientific}
    fact = read(tmp_path, [image(1)], [label("i1", 1)], [category]).observations.to_pylist()[0]
    assert (fact["type"], fact["taxon"], fact["rank"]) == expected
    assert fact["label"] == name


@pytest.mark.parametrize(
    ("written", "wall", "reason"),
    [
        ("2014-06-01T12:30:00", "2014-06-01 12:30:00", None),
        ("2014:06:01 12:30:00", "2014-06-01 12:30:00", None),
        ("06-01-2014", "2014-06-01 00:00:00", None),
        ("6/1/2014 1:05 PM", "2014-06-01 13:05:00", None),
        ("01 Jun 2014 12:30", "2014-06-01 12:30:00", None),
        ("2014-06-01 12:30:00.250", "2014-06-01 12:30:00", None),
        ("20140601_123000", "2014-06-01 12:30:00", None),
        ("", None, None),
        (float("nan"), None, None),
        ("NaN", None, None),
        ("0000:00:00 00:00:00", None, "unreadable_time"),
        ("yesterday", None, "unreadable_time"),
        ("1970-01-01 00:00:00", None, "year_out_of_range"),
        ("2094-01-01 00:00:00", None, "year_out_of_range"),
    ],
)
def test_times_in_the_shapes_found_in_public_sets(tmp_path: Path, written: Any, wall: Any, reason: Any) -> None:
    survey = read(tmp_path, [image(1, date_captured=written)], [])
    assert survey.media["captured_at"].to_pylist() == [wall]
    assert survey.refused.counts == ({reason: 1} if reason else {})


def test_a_stated_offset_is_kept_beside_the_wall_time(tmp_path: Path) -> None:
    medium = read(tmp_path, [image(1, datetime="2019-03-04T05:06:07-03:30")], []).media.to_pylist()[0]
    assert (medium["captured_at"], medium["utc_offset"]) == ("2019-03-04 05:06:07", -12600)


def test_sequence_labels_are_of_the_event(tmp_path: Path) -> None:
    survey = read(tmp_path, [image(1, sequence="x")], [label("i1", 1, sequence_level_annotation=True)])
    assert survey.observations["level"].to_pylist() == ["event"]
    assert survey.refused.counts == {"illegal_sequence_field": 1}


@pytest.mark.parametrize(
    ("labels_of", "fields", "level"),
    [
        ("image", {}, "media"),
        ("image", {"sequence_level_annotation": "true"}, "event"),
        ("image", {"sequence_level_annotation": 1}, "event"),
        ("sequence", {}, "event"),
        ("sequence", {"sequence_level_annotation": False}, "media"),
        ("sequence", {"bbox_relative": [0.1, 0.1, 0.1, 0.1]}, "media"),
    ],
)
def test_a_set_whose_labels_are_all_of_sequences_says_so_by_a_setting(
    tmp_path: Path, labels_of: Any, fields: dict[str, Any], level: str
) -> None:
    read(tmp_path, [image(1)], [label("i1", 1, **fields)])
    source = CocoCameraTraps(kind="coco_camera_traps", metadata="cct.json", images_prefix="images", labels_of=labels_of)
    assert source.read(open_store(str(tmp_path))).observations["level"].to_pylist() == [level]


def test_numbers_as_ids_places_and_sequences_are_text(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "location": 0, "seq_id": 5}]
    survey = read(tmp_path, images, [{"id": 1, "image_id": 1, "category_id": "1"}])
    medium = survey.media.to_pylist()[0]
    assert (medium["media_id"], medium["place"], medium["event_id"]) == ("1", "0", "5")
    assert survey.observations["media_id"].to_pylist() == ["1"]
    assert survey.refused.counts == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"width": None}, "width_without_height"),
        ({"height": 0}, "width_without_height"),
        ({"location": ["a"]}, "bad_location"),
        ({"location": {"lat": 1}}, "bad_location"),
        ({"sequence_id": "s"}, "illegal_sequence_field"),
    ],
)
def test_an_image_that_breaks_a_rule_is_kept_and_counted(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    survey = read(tmp_path, [image(1, **fields)], [])
    assert (survey.media.num_rows, survey.media["place"].to_pylist()) == (1, [None])
    assert survey.refused.counts == {reason: 1}


@pytest.mark.parametrize("nothing", ["", "None", "NaN", float("nan"), None])
def test_an_empty_datetime_does_not_hide_date_captured(tmp_path: Path, nothing: Any) -> None:
    survey = read(tmp_path, [image(1, datetime=nothing, date_captured="2014-06-01 12:30:00")], [])
    assert survey.media["captured_at"].to_pylist() == ["2014-06-01 12:30:00"]
    assert survey.refused.counts == {}


def test_repeated_annotations_count_once_and_shared_ids_are_kept(tmp_path: Path) -> None:
    one = label("i1", 1, count=2)
    survey = read(tmp_path, [image(1), image(2)], [one, dict(one), {**one, "image_id": "i2"}, {**one, "id": None}])
    assert survey.observations["media_id"].to_pylist() == ["i1", "i2", "i1"]
    assert survey.refused.counts == {"duplicate_annotation": 1, "duplicate_annotation_id": 1}


def test_categories_that_share_a_name_or_take_the_place_of_empty_are_counted(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "fox"}, {"id": 1, "name": "fox"}, {"id": 2, "name": "empty"}]
    survey = read(tmp_path, [image(1)], [label("i1", 0), label("i1", 1), label("i1", 2)], categories)
    assert survey.observations["type"].to_pylist() == ["animal", "animal", "blank"]
    assert survey.refused.counts == {"duplicate_category_name": 1, "category_zero_not_empty": 1}


def test_licences_are_read_per_image(tmp_path: Path) -> None:
    document = {"images": [image(1, license=4), image(2, license="CC0"), image(3)], "annotations": [], "categories": [],
                "licenses": [{"id": 4, "name": "CC BY-NC 4.0"}, {"id": 5}, None]}  # fmt: skip
    (tmp_path / "cct.json").write_text(json.dumps(document))
    survey = CocoCameraTraps(kind="coco_camera_traps", metadata="cct.json").read(open_store(str(tmp_path)))
    assert survey.media["licence"].to_pylist() == ["CC BY-NC 4.0", "CC0", None]


def test_a_latin1_file_is_read_and_counted(tmp_path: Path) -> None:
    document = {"images": [image(1, location="Forêt")], "annotations": [], "categories": []}
    (tmp_path / "cct.json").write_bytes(json.dumps(document, ensure_ascii=False).encode("latin-1"))
    survey = CocoCameraTraps(kind="coco_camera_traps", metadata="cct.json").read(open_store(str(tmp_path)))
    assert survey.media["place"].to_pylist() == ["Forêt"]
    assert survey.refused.counts == {"latin1_file": 1}


def test_a_second_category_of_one_id_is_refused(tmp_path: Path) -> None:
    survey = read(tmp_path, [image(1)], [label("i1", 1)], [*CATEGORIES, {"id": 1, "name": "wolf"}])
    assert survey.observations["label"].to_pylist() == ["red fox"]
    assert survey.refused.counts == {"duplicate_category": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "JSON object is expected"),
        (b'{"images": []}', "no list named 'categories'"),
        (b'{"images": {}, "categories": [], "annotations": []}', "no list named 'images'"),
        (b'{"images": [{"id": 1}], "categories": [], "annotations": []}', "none of its 1 images"),
    ],
)
def test_a_file_that_is_no_such_format_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "cct.json").write_bytes(content)
    with pytest.raises(DataRefused) as refusal:
        CocoCameraTraps(kind="coco_camera_traps", metadata="cct.json").read(open_store(str(tmp_path)))
    assert words in str(refusal.value) and "cct.json" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.json"):
        CocoCameraTraps(kind="coco_camera_traps", metadata="nowhere.json").read(open_store(str(tmp_path)))


def test_names_are_in_the_language_of_the_categories(tmp_path: Path) -> None:
    zorro = {"id": 1, "name": "zorro rojo", "scientific_name": "vulpes vulpes"}
    read(tmp_path, [image(1)], [label("i1", 1)], [zorro])
    source = CocoCameraTraps(kind="coco_camera_traps", metadata="cct.json", language="spa")
    (row,) = source.read(open_store(str(tmp_path))).observations.to_pylist()
    assert (row["names"], row["taxon"], row["rank"]) == ('{"spa": "zorro rojo"}', "Vulpes vulpes", "species")


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ({"name": "rosy starling", "genus": "Pastor", "scientific_name": "Pastor roseus"}, "animal"),
        ({"name": "walking", "genus": "Homo"}, "human"),
        ({"name": "walking", "scientific_name": "Homo sapiens sapiens"}, "human"),
    ],
)
def test_a_person_by_genus(tmp_path: Path, category: dict[str, Any], expected: str) -> None:
    survey = read(tmp_path, [image(1)], [label("i1", 1)], [{"id": 1, **category}])
    assert survey.observations["type"].to_pylist() == [expected]


@pytest.mark.data
def test_the_real_frames(data_dir: Path) -> None:
    store = open_store(str(data_dir / "cameratraps"))
    source = CocoCameraTraps(kind="coco_camera_traps", metadata="annotations.cct.json", images_prefix="images")
    survey = source.read(store)
    assert (survey.media.num_rows, survey.observations.num_rows) == (820, 820)
    assert len(set(survey.observations["label"].to_pylist())) == 30
    assert survey.observations["type"].to_pylist().count("blank") == 20
    ranks = dict(zip(survey.observations["taxon"].to_pylist(), survey.observations["rank"].to_pylist(), strict=True))
    assert (ranks["Aves"], ranks["Canidae"], ranks["Rodentia"], ranks["Felis"]) == ("class", "family", "order", "genus")
    assert survey.refused.counts == {}
    listed = {entry.key for entry in store.list("images")}
    assert set(survey.media["key"].to_pylist()) == listed
