"""Signs of people: what any row says of a file closes it, whatever becomes of the row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.prepare.privacy import closed, kinds
from pipelines.prepare.settings import DataSettings
from pipelines.sources.schema import PEOPLE, Survey
from tests.pipelines import test_sources_camtrap_dp as camtrap
from tests.pipelines import test_sources_coco as coco
from tests.pipelines import test_sources_corrections as corrections
from tests.pipelines import test_sources_inaturalist as inaturalist
from tests.pipelines import test_sources_megadetector as megadetector
from tests.pipelines import test_sources_speciesnet as speciesnet
from tests.pipelines import test_sources_wildlife_insights as wildlife
from tests.pipelines.surveys import coco_settings
from tests.pipelines.test_sources_camtrap_dp import medium, observation
from tests.pipelines.test_sources_megadetector import box, classified

Rows = dict[str, Any]


def signs(survey: Survey) -> set[tuple[str, str]]:
    """Key and kind of each sign of a file."""
    return {(row["key"], row["kind"]) for row in survey.signs.to_pylist() if row["key"]}


def kept_out(survey: Survey, **privacy: Any) -> dict[str, str]:
    """Key to kind of the media that the settings keep out."""
    data: DataSettings = coco_settings("unused", **privacy)
    found = kinds(closed(survey, data), survey.media["key"], np.arange(len(survey.media)))
    pairs = zip(survey.media["key"].to_pylist(), found.tolist(), strict=True)
    return {key: kind for key, kind in pairs if kind}


CAMTRAP: dict[str, tuple[list[str], list[str], set[tuple[str, str]]]] = {
    "a second row of an id": (
        [medium("m1"), medium("m1", path="media/other.jpg", public="false")],
        [],
        {("media/other.jpg", "not_public")},
    ),
    "a second row of a file": (
        [medium("m1"), medium("m2", path="media/m1.jpg", public="false")],
        [],
        {("media/m1.jpg", "not_public")},
    ),
    "a wrong media type": (
        [medium("m1"), medium("m2", type="video/mp4", public="false")],
        [],
        {("media/m2.jpg", "not_public")},
    ),
    "a row without an id": ([medium("m1"), medium("", public="false")], [], {("media/.jpg", "not_public")}),
    "a label of the second row of a file": (
        [medium("m1"), medium("m2", path="media/m1.jpg")],
        [observation("media", "human", mediaID="m2")],
        {("media/m1.jpg", "human")},
    ),
    "a label of an id of two files": (
        [medium("m1"), medium("m1", path="media/other.jpg")],
        [observation("media", "vehicle", mediaID="m1")],
        {("media/m1.jpg", "vehicle"), ("media/other.jpg", "vehicle")},
    ),
    "an event's label beside a frame's own": (
        [medium("m1"), medium("m2")],
        [
            observation("media", mediaID="m1", eventID="e1", scientificName="Vulpes vulpes"),
            observation("event", "human", eventID="e1"),
        ],
        {("media/m1.jpg", "human")},
    ),
    "an event's label of a row without an id": (
        [medium("m1"), medium("", path="media/lost.jpg", time="2021-05-01T08:00:05Z")],
        [
            observation(
                "event", "human", eventID="e1", eventStart="2021-05-01T08:00:01Z", eventEnd="2021-05-01T08:00:09Z"
            )
        ],
        {("media/lost.jpg", "human")},
    ),
    "an event of people around another event": (
        [medium("m1"), medium("m2", time="2021-05-01T08:05:00Z"), medium("m3", time="2021-05-01T09:00:00Z")],
        [
            observation("media", mediaID="m2", eventID="e2", scientificName="Vulpes vulpes"),
            observation(
                "event", "human", eventID="e1", eventStart="2021-05-01T08:00:00Z", eventEnd="2021-05-01T08:30:00Z"
            ),
            observation("event", eventID="e2", eventStart="2021-05-01T08:04:00Z", eventEnd="2021-05-01T08:06:00Z"),
        ],
        {("media/m1.jpg", "human"), ("media/m2.jpg", "human")},
    ),
    "a row of no known level": (
        [medium("m1")],
        [observation("frame", "human", mediaID="m1")],
        {("media/m1.jpg", "human")},
    ),
    "a type in other words": (
        [medium("m1")],
        [observation("media", "Person", mediaID="m1")],
        {("media/m1.jpg", "human")},
    ),
    "a person as an animal": (
        [medium("m1")],
        [observation("media", mediaID="m1", scientificName="Homo sapiens")],
        {("media/m1.jpg", "human")},
    ),
    "a person as an animal, in full": (
        [medium("m1"), medium("m2"), medium("m3")],
        [
            observation("media", mediaID="m1", scientificName="Homo sapiens sapiens"),
            observation("media", mediaID="m2", scientificName="Homo sp."),
            observation("media", mediaID="m3", scientificName="persona"),
        ],
        {("media/m1.jpg", "human"), ("media/m2.jpg", "human"), ("media/m3.jpg", "human")},
    ),
    "nobody": (
        [medium("m1"), medium("m1", path="media/other.jpg")],
        [observation("media", mediaID="m1", scientificName="Vulpes vulpes")],
        set(),
    ),
}


@pytest.mark.parametrize("case", CAMTRAP)
def test_camtrap_dp(tmp_path: Path, case: str) -> None:
    media, observations, expected = CAMTRAP[case]
    camtrap.write(tmp_path, media, observations)
    assert signs(camtrap.read(tmp_path)) == expected


def test_a_person_whom_a_row_calls_an_animal_is_no_species(tmp_path: Path) -> None:
    camtrap.write(tmp_path, [medium("m1")], [observation("media", mediaID="m1", scientificName="Homo sapiens")])
    (row,) = camtrap.read(tmp_path).observations.to_pylist()
    assert (row["type"], row["taxon"]) == ("human", None)


PERSON = [{"id": 9, "name": "person"}]


@pytest.mark.parametrize(
    ("images", "annotations", "categories", "expected"),
    [
        ([coco.image(1), coco.image(2, file_name="a/1.jpg")], [coco.label("i2", 9)], [], {"images/a/1.jpg"}),
        (
            [coco.image(1), coco.image(1, file_name="a/2.jpg")],
            [coco.label("i1", 9)],
            [],
            {"images/a/1.jpg", "images/a/2.jpg"},
        ),
        ([coco.image(1)], [coco.label("i1", 3)], [{"id": 3, "name": "#REF!", "scientific_name": "Homo sapiens"}],
         {"images/a/1.jpg"}),
        ([coco.image(1)], [coco.label("i1", 1)], [{"id": 1, "name": "human"}], {"images/a/1.jpg"}),
        ([coco.image(1), coco.image(1)], [coco.label("i1", 1)], [], set()),
    ],
    ids=["second row of a file", "second row of an id", "bad label", "second category of an id", "nobody"],
)  # fmt: skip
def test_coco_camera_traps(
    tmp_path: Path, images: list[Rows], annotations: list[Rows], categories: list[Rows], expected: set[str]
) -> None:
    found = coco.read(tmp_path, images, annotations, [*coco.CATEGORIES, *PERSON, *categories])
    assert signs(found) == {(key, "human") for key in expected}


def test_wildlife_insights(tmp_path: Path) -> None:
    human = {"genus": "Homo", "species": "sapiens", "common_name": "Human"}
    first = wildlife.image(1)["location"]
    images = [
        wildlife.image(1, sequence_id="s1", **human),  # its sequence is called a puma
        wildlife.image(2, location=first),  # a second row of a file, which nobody names
        wildlife.image(3, sequence_id="s2", **wildlife.PUMA),  # its sequence is called a person
        wildlife.image(4, image_id="", sequence_id="s2"),  # a row without an id, of that sequence
        wildlife.image(5, **wildlife.PUMA),
        wildlife.image(6, image_id="", **human),
    ]
    sequences = [{"project_id": "1", "sequence_id": "s1", **wildlife.PUMA},
                 {"project_id": "1", "sequence_id": "s2", **human}]  # fmt: skip
    wildlife.write(tmp_path, images, sequences=sequences)
    survey = wildlife.read(tmp_path)
    assert survey.refused.counts["label_repeats_sequence"] == 2, "of the rows that were taken"
    found = {(key.rpartition("/")[2], kind) for key, kind in signs(survey)}
    assert found == {(f"g{number}.jpg", "human") for number in (1, 3, 4, 6)}


def test_a_label_of_a_burst_closes_all_its_frames(tmp_path: Path) -> None:
    images = [coco.image(number, seq_id=sequence) for number, sequence in enumerate(["s1", "s1", "s2", "s1", "s2"])]
    images += [coco.image(5), coco.image(6)]  # of no sequence
    burst = {"sequence_level_annotation": True}
    annotations = [coco.label("i1", 9, **burst), coco.label("i2", 9), coco.label("i5", 9, **burst)]
    survey = coco.read(tmp_path, images, annotations, [*coco.CATEGORIES, *PERSON])
    assert kept_out(survey) == {f"images/a/{number}.jpg": "human" for number in (0, 1, 3, 2, 5)}
    assert not kept_out(survey, privacy={"people": True})


def test_a_label_that_repeats_its_sequences_closes_the_sequence(tmp_path: Path) -> None:
    car, blank = {"common_name": "Vehicle"}, {"common_name": "Blank", "is_blank": "1"}
    said = {1: ("s1", car), 2: ("s1", blank), 3: ("s2", wildlife.PUMA)}
    wildlife.write(tmp_path, [wildlife.image(n, sequence_id=sequence, **row) for n, (sequence, row) in said.items()])
    shut = kept_out(wildlife.read(tmp_path))
    assert shut == {f"deployment/77/prod/g{number}.jpg": "vehicle" for number in (1, 2)}


def test_so_does_one_that_stands_in_a_refused_row(tmp_path: Path) -> None:
    burst, away = {"sequence_level_annotation": True}, {"file_name": "https://elsewhere.example/1.jpg"}
    images = [coco.image(1, seq_id="s1", **away), coco.image(2, seq_id="s1"), coco.image(3, seq_id="s2", **away)]
    images += [coco.image(4, seq_id="s2"), coco.image(5)]
    annotations = [coco.label("i1", 9, **burst), coco.label("i3", 9)]
    survey = coco.read(tmp_path, images, annotations, [*coco.CATEGORIES, *PERSON])
    assert survey.refused.counts == {"remote_url": 2, "annotation_of_refused_image": 2}
    assert kept_out(survey) == {"images/a/2.jpg": "human"}
    human = {"sequence_id": "s1", "common_name": "Human"}
    rows = [wildlife.image(1, location="", **human), wildlife.image(2, sequence_id="s1"), wildlife.image(3)]
    wildlife.write(tmp_path, rows)
    assert kept_out(wildlife.read(tmp_path)) == {"deployment/77/prod/g2.jpg": "human"}


def test_inaturalist(tmp_path: Path) -> None:
    person = {"id": 1, "name": "Homo sapiens", "kingdom": "Animalia", "genus": "Homo"}
    fox = {"id": 0, "name": "Vulpes vulpes", "kingdom": "Animalia", "genus": "Vulpes"}
    images = [inaturalist.image(1), inaturalist.image(2, file_name=inaturalist.image(1)["file_name"])]
    inaturalist.write(tmp_path, images, [inaturalist.label(1, 0), inaturalist.label(2, 1)], [fox, person])
    survey = inaturalist.read(tmp_path, categories=None)
    assert signs(survey) == {(inaturalist.image(1)["file_name"], "human")}
    assert set(survey.observations["type"].to_pylist()) == {"animal"} and "not_an_animal" not in survey.refused.counts


ROWS = "key,media_id,type,scientific_name\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("img/x.jpg,,human,\nimg/a.jpg,,blank,\n", {"img/x.jpg"}),
        ("img\\x.jpg,,human,\nimg/a.jpg,,blank,\n", {"img\\x.jpg", "img/x.jpg"}),
        ("img/a.jpg,,human,\nimg/a.jpg,,animal,Vulpes vulpes\n", {"img/a.jpg"}),
        ("img/a.jpg,id-b,human,\nimg/c.jpg,,blank,\n", {"img/a.jpg", "img/b.jpg"}),
        ("img/a.jpg,,human,Vulpes vulpes\nimg/c.jpg,,blank,\n", {"img/a.jpg"}),
        ("img/a.jpg,,animal,Homo sapiens\nimg/c.jpg,,blank,\n", {"img/a.jpg"}),
        ("img/a.jpg,,Persona,\nimg/c.jpg,,vacío,\n", {"img/a.jpg"}),
        ("img/a.jpg,,animal,Homo sp.\nimg/c.jpg,,blank,\n", {"img/a.jpg"}),
        ("img/x.jpg,,animal,Vulpes vulpes\nimg/a.jpg,,blank,\n", set()),
    ],
    ids=[
        "unnamed",
        "unnamed, backslash",
        "superseded",
        "two files",
        "contradiction",
        "a person as an animal",
        "a person in Spanish",
        "a person as a genus",
        "fox",
    ],
)
def test_corrections(tmp_path: Path, rows: str, expected: set[str]) -> None:
    assert signs(corrections.overlay(tmp_path, ROWS + rows)) == {(key, "human") for key in expected}


def test_a_second_corrections_file_takes_no_person_back(tmp_path: Path) -> None:
    first = corrections.overlay(tmp_path, ROWS + ",id-a,human,\n")
    second = corrections.overlay(tmp_path, ROWS + ",id-a,animal,Vulpes vulpes\n", first)
    assert corrections.corrected(second)["id-a"]["type"] == "animal"
    assert kept_out(second) == {"img/a.jpg": "human"}


NOTHING: Rows = {"file": "img/b.jpg", "detections": []}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"file": "img/x.jpg", "detections": [box("2", 0.4), box("2", 0.6)]}], {"img/x.jpg": 0.6}),
        ([{"file": "img/a.jpg", "detections": []}, {"file": "img/a.jpg", "detections": [box("2", 0.7)]}],
         {"img/a.jpg": 0.7}),
        ([{"file": "img/a.jpg", "detections": [box("2", 0.7, bbox=[0.1])]}], {"img/a.jpg": 0.7}),
        ([{"file": "img/a.jpg", "detections": [box("2", None)]}], {"img/a.jpg": 1}),
        ([{"file": "img/a.jpg", "failure": "x", "detections": [box("2", 0.7)]}], {"img/a.jpg": 0.7}),
        ([{"file": "img/a.jpg", "detections": [*(box("1", 0.8) for _ in range(100)), box("2", 0.7)]}],
         {"img/a.jpg": 0.7}),
        ([{"file": "img/a.jpg", "detections": [box("1", 0.9)]}], {}),
    ],
    ids=["unnamed", "second entry", "bad box", "no confidence", "failure", "beyond max_boxes", "animal"],
)  # fmt: skip
def test_boxes_of_people(tmp_path: Path, entries: list[Rows], expected: dict[str, float]) -> None:
    found = megadetector.overlay(tmp_path, [*entries, NOTHING])
    assert {row["key"]: row["confidence"] for row in found.signs.to_pylist()} == expected


CATEGORIES = {
    "human": ["human", "humans", "Person", "people", "pedestrian", "Man", "human/person", "Homo sapiens"],
    "vehicle": ["Vehicle", "vehicles", "car", "truck", "bicycle", "motor_bike", "Pkw"],
    None: ["animal", "empty", "nest", "dog", "bird", "unknown"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in CATEGORIES.items() for name in names])
def test_boxes_of_people_by_whatever_word_their_category_has(tmp_path: Path, kind: str | None, name: str) -> None:
    document = {"detection_categories": {"7": name}}
    found = megadetector.overlay(tmp_path, [{"file": "img/a.jpg", "detections": [box("7", 0.7)]}], document=document)
    assert signs(found) == ({("img/a.jpg", kind)} if kind else set())
    assert found.detections["classes"].to_pylist() == [[] if name == "empty" else [kind or name]]


HUMAN, VEHICLE, FOX = ["4", 0.7], ["5", 0.7], ["1", 0.9]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"file": "img/a.jpg", "detections": [classified(HUMAN)]}], {("img/a.jpg", "human"): 0.7}),
        ([{"file": "img/x.jpg", "detections": [classified(VEHICLE)]}], {("img/x.jpg", "vehicle"): 0.7}),
        ([{"file": "img/x.jpg", "detections": [classified(HUMAN, category="2", conf=0.9)]}],
         {("img/x.jpg", "human"): 0.9}),
        ([{"file": "img/x.jpg", "detections": [classified(["4", 0.2], FOX)]}], {}),
        ([{"file": "img/a.jpg", "detections": []}, {"file": "img/a.jpg", "detections": [classified(HUMAN)]}],
         {("img/a.jpg", "human"): 0.7}),
        ([{"file": "img/a.jpg", "failure": "x", "detections": [classified(HUMAN)]}], {("img/a.jpg", "human"): 0.7}),
        ([{"file": "img/a.jpg", "detections": [classified(HUMAN, bbox=[0.1])]}], {("img/a.jpg", "human"): 0.7}),
        ([{"file": "img/x.jpg", "detections": [classified(["4", "sure"], FOX)]}], {("img/x.jpg", "human"): 1}),
        ([{"file": "img/x.mp4", "frame_rate": 30, "detections": [classified(HUMAN)]}], {("img/x.mp4", "human"): 0.7}),
        ([{"file": "img/a.jpg", "detections": [classified(FOX)]}], {}),
    ],
    ids=["animal box", "unnamed", "the surer", "not the likeliest", "second entry", "failure", "bad box", "no score",
         "video", "fox"],
)  # fmt: skip
def test_boxes_that_a_classifier_says_are_people(
    tmp_path: Path, entries: list[Rows], expected: dict[Any, float]
) -> None:
    document = {"detection_categories": megadetector.NAMES, "classification_categories": megadetector.CLASSES}
    found = megadetector.overlay(tmp_path, [*entries, NOTHING], document=document)
    assert {(row["key"], row["kind"]): row["confidence"] for row in found.signs.to_pylist()} == expected


def test_a_class_closes_from_the_thresholds_as_a_box_does_and_a_mediums_label_at_once(tmp_path: Path) -> None:
    document = {"classification_categories": megadetector.CLASSES}
    entries = [{"file": "img/x.jpg", "detections": [classified(["4", 0.3])]}, NOTHING]
    found = megadetector.overlay(tmp_path, entries, document=document)
    by_threshold = [closed(found, coco_settings("unused", detector_threshold=one))[0].keys for one in (0.3, 0.31)]
    assert [keys.to_pylist() for keys in by_threshold] == [["img/x.jpg"], []]
    assert not signs(megadetector.overlay(tmp_path, entries, document=document, threshold=0.5))
    weak = [{"file": "img/x.jpg", "detections": [classified(HUMAN, conf=0.2)]}, NOTHING]
    assert not signs(megadetector.overlay(tmp_path, weak, document=document, threshold=0.5))
    medium = [{"file": "img/a.jpg", "detections": [classified(["4", 0.1])]}]
    assert kept_out(megadetector.overlay(tmp_path, medium, document=document)) == {"img/a.jpg": "human"}


@pytest.mark.parametrize("category", ["2", "3"])
def test_boxes_close_from_the_threshold_of_the_dataset_and_of_the_overlay(tmp_path: Path, category: str) -> None:
    sure, unsure = box(category, 0.7), box(category, 0.69)
    entries = [{"file": "img/a.jpg", "detections": [sure]}, {"file": "img/b.jpg", "detections": [unsure]}]
    found = megadetector.overlay(tmp_path, entries)
    kind = PEOPLE[int(category) - 2]
    assert kept_out(found, detector_threshold=0.7) == {"img/a.jpg": kind}
    assert kept_out(found, detector_threshold=0.2) == {"img/a.jpg": kind, "img/b.jpg": kind}
    let_in = {"human": "people", "vehicle": "vehicles"}[kind]
    assert not kept_out(found, detector_threshold=0.2, privacy={let_in: True})
    assert kept_out(megadetector.overlay(tmp_path, entries, threshold=0.7), detector_threshold=0.2) == {
        "img/a.jpg": kind
    }


def test_a_second_detector_takes_no_person_back(tmp_path: Path) -> None:
    first = megadetector.overlay(tmp_path, [{"file": "img/a.jpg", "detections": [box("2", 0.9)]}, NOTHING])
    second = megadetector.overlay(tmp_path, [{"file": "img/a.jpg", "detections": []}], first)
    assert [row["boxes"] for row in second.detections.to_pylist() if row["key"] == "img/a.jpg"] == [[]]
    assert kept_out(second) == {"img/a.jpg": "human"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (speciesnet.old("img/x.jpg", speciesnet.HUMAN), {("img/x.jpg", "human")}),
        (speciesnet.new("img/x.jpg", speciesnet.classified(speciesnet.HUMAN)), {("img/x.jpg", "human")}),
        (speciesnet.new("img/x.jpg", speciesnet.classified(speciesnet.FOX, category="3")), {("img/x.jpg", "vehicle")}),
        (speciesnet.old("img/a.jpg", speciesnet.VEHICLE), {("img/a.jpg", "vehicle")}),
        (speciesnet.new("img/x.jpg", speciesnet.classified(speciesnet.HUMAN), failures=["DETECTOR"]),
         {("img/x.jpg", "human")}),
        (speciesnet.old("img/x.jpg", speciesnet.FOX), set()),
    ],
    ids=["unnamed", "unnamed, from 5.x", "unnamed box", "second entry", "a failure", "fox"],
)  # fmt: skip
def test_classes_of_people(tmp_path: Path, entry: Rows, expected: set[tuple[str, str]]) -> None:
    first = speciesnet.old("img/a.jpg", speciesnet.FOX)
    assert signs(speciesnet.overlay(tmp_path, [first, entry])) == expected


def test_a_second_classifier_takes_no_person_back(tmp_path: Path) -> None:
    first = speciesnet.overlay(tmp_path, [speciesnet.old("img/a.jpg", speciesnet.HUMAN)])
    second = speciesnet.overlay(tmp_path, [speciesnet.old("img/a.jpg", speciesnet.FOX)], first)
    assert second.observations["type"].to_pylist() == ["animal"] and kept_out(second) == {"img/a.jpg": "human"}
