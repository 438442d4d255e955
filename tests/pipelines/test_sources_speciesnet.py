"""SpeciesNet predictions of both layouts, laid over a survey: classes at their true rank, boxes, failures."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.sources.machine_classes import MachineClass, summary
from pipelines.sources.megadetector import MegaDetector
from pipelines.sources.schema import Survey
from pipelines.sources.speciesnet import SpeciesNet
from pipelines.sources.speciesnet_classes import SPECIAL, read_class
from tests.pipelines.test_sources_megadetector import box, survey

FOX = "3e5b7c2a-0000-4000-8000-000000000001;mammalia;carnivora;canidae;vulpes;vulpes;red fox"
GENUS = "3e5b7c2a-0000-4000-8000-000000000002;mammalia;carnivora;canidae;vulpes;;vulpes species"
FAMILY = "3e5b7c2a-0000-4000-8000-000000000003;mammalia;carnivora;canidae;;;canidae family"
GOAT = "3e5b7c2a-0000-4000-8000-000000000004;mammalia;artiodactyla;bovidae;capra;aegagrus hircus;domestic goat"
BIRD = "3e5b7c2a-0000-4000-8000-000000000005;aves;;;;;bird"
BLANK = "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank"
ANIMAL = "1f689929-883d-4dae-958c-3d57ab5b6c16;;;;;;animal"
HUMAN = "990ae9dd-7a59-4344-afcb-1b7b21368000;mammalia;primates;hominidae;homo;sapiens;human"
VEHICLE = "e2895ed5-780b-48f6-8a11-9e27cb594511;;;;;;vehicle"
UNKNOWN = "f2efdae9-efb8-48fb-8a91-eccf79ab4ffb" + 6 * ";no cv result"


def classified(written: Any, score: Any = 0.8, conf: float = 0.9, category: str = "1") -> dict[str, Any]:
    """A detection as 5.x writes it."""
    raw = {"classes": [written], "scores": [score]}
    processed = {"class": written, "score": score, "source": "classifier"}
    return box(category, conf) | {"raw_classifications": raw, "processed_classification": processed}


def new(path: str, *detections: Any, **fields: Any) -> dict[str, Any]:
    return {"filepath": path, "detections": list(detections), "model_version": "4.0.3a", **fields}


def old(path: str, prediction: Any, score: Any = 0.9, **fields: Any) -> dict[str, Any]:
    """An entry as 4.x writes it."""
    raw = {"classes": [prediction], "scores": [score]}
    said = {"prediction": prediction, "prediction_score": score, "prediction_source": "classifier"}
    return {"filepath": path, "classifications": raw, "model_version": "4.0.1a", **said, **fields}


def overlay(folder: Path, entries: list[Any], below: Survey | None = None, **settings: Any) -> Survey:
    (folder / "sn.json").write_text(json.dumps({"info": {"format_version": "20261015"}, "predictions": entries}))
    source = SpeciesNet(kind="speciesnet", path="sn.json", **settings)
    return source.read(open_store(str(folder)), below or survey("img/a.jpg", "img/b.jpg"))


@pytest.mark.parametrize(
    ("written", "kind", "taxon", "rank", "names"),
    [
        (FOX, "animal", "Vulpes vulpes", "species", {"eng": "red fox"}),
        (GOAT, "animal", "Capra aegagrus hircus", "subspecies", {"eng": "domestic goat"}),
        (GENUS, "animal", "Vulpes", "genus", None),
        (FAMILY, "animal", "Canidae", "family", None),
        (BIRD, "animal", "Aves", "class", {"eng": "bird"}),
        (ANIMAL, "animal", None, None, None),
        (BLANK, "blank", None, None, None),
        (HUMAN, "human", None, None, None),
        (VEHICLE, "vehicle", None, None, None),
        (UNKNOWN, "unknown", None, None, None),
        ("other-uuid;mammalia;primates;hominidae;homo;sapiens;hiker", "human", None, None, None),
        ("other-uuid;mammalia;primates;hominidae;homo;;homo species", "human", None, None, None),
    ],
)
def test_classes_at_their_true_rank(
    tmp_path: Path, written: str, kind: str, taxon: str | None, rank: str | None, names: dict[str, str] | None
) -> None:
    for entry in (old("img/a.jpg", written, 0.9), new("img/a.jpg", classified(written, 0.9))):
        found = overlay(tmp_path, [entry])
        row = found.observations.to_pylist()[0]
        assert (row["type"], row["taxon"], row["rank"]) == (kind, taxon, rank)
        assert (json.loads(row["names"]) if row["names"] else None) == names
        assert (row["level"], row["method"], row["origin"]) == ("media", "machine", "speciesnet")
        assert row["confidence"] == pytest.approx(0.9) and row["media_id"] == "img/a.jpg"
        assert found.refused.counts == {}


def test_the_lineage_is_of_the_ranks_above(tmp_path: Path) -> None:
    row = overlay(tmp_path, [old("img/a.jpg", FOX)]).observations.to_pylist()[0]
    assert json.loads(row["lineage"]) == {
        "class": "Mammalia",
        "order": "Carnivora",
        "family": "Canidae",
        "genus": "Vulpes",
    }


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([classified(FOX, 0.7), classified(FOX, 0.9)], {"Vulpes vulpes": 0.9}),
        ([classified(FAMILY, 0.9), classified(FOX, 0.7)], {"Vulpes vulpes": 0.7}),
        ([classified(FOX, 0.7), classified(GOAT, 0.9)], {"Vulpes vulpes": 0.7, "Capra aegagrus hircus": 0.9}),
        ([classified(FOX, 0.7), classified(BLANK, 0.99), classified(UNKNOWN)], {"Vulpes vulpes": 0.7}),
        ([classified(ANIMAL, 0.99), classified(FOX, 0.7)], {"Vulpes vulpes": 0.7}),
        ([classified(BLANK, 0.9), classified(BLANK, 0.6)], {"blank": 0.6}),
        ([classified(BLANK, 0.9), classified(UNKNOWN, 0.3)], {"unknown": 0.3}),
        ([classified(HUMAN, 0.9), classified(FOX, 0.7)], {"human": 0.9, "Vulpes vulpes": 0.7}),
        ([], {"blank": None}),
        ([box(conf=0.05)], {"blank": None}),
    ],
)
def test_boxes_of_an_image_say_one_thing_of_it(tmp_path: Path, boxes: list[Any], said: dict[str, float]) -> None:
    rows = overlay(tmp_path, [new("img/a.jpg", *boxes)]).observations.to_pylist()
    found = {row["taxon"] or row["type"]: row["confidence"] for row in rows}
    assert found == {name: None if score is None else pytest.approx(score) for name, score in said.items()}


CLASSES = st.sampled_from([FOX, GENUS, FAMILY, GOAT, BIRD, BLANK, ANIMAL, HUMAN, VEHICLE, UNKNOWN]).map(read_class)


@given(st.lists(st.tuples(CLASSES, st.floats(0, 1)), max_size=6), st.randoms())
def test_the_order_of_boxes_does_not_matter_and_nothing_named_is_lost(found: list[Any], random: Any) -> None:
    kept = summary(found)
    shuffled = list(found)
    random.shuffle(shuffled)
    assert sorted(map(repr, summary(shuffled))) == sorted(map(repr, kept))
    named = [one for one, _ in found if one.type not in ("blank", "unknown")]
    assert all(any(one.holds(other) for other, _ in kept) for one in named)
    assert bool(kept) == bool(found) and len({repr(one) for one, _ in kept}) == len(kept)


FAILED = [["CLASSIFIER"], ["DETECTOR"], ["GEOLOCATION"], ["CLASSIFIER", "DETECTOR"], ["DETECTOR", "GEOLOCATION"]]


def failure_counts(failed: list[str]) -> dict[str, int]:
    named = {"CLASSIFIER": "classifier_failed", "DETECTOR": "detector_failed"}
    return {named[name]: 1 for name in failed if name in named}


@pytest.mark.parametrize("failed", FAILED)
@pytest.mark.parametrize("listed", [True, False])
def test_a_part_that_failed_says_nothing(tmp_path: Path, failed: list[str], listed: bool) -> None:
    """From 5.x there is nothing to classify without a detector, whether its list is empty or, as written, absent; and
    the rest of the file is no witness of this frame."""
    entry = new("img/a.jpg", *([] if "DETECTOR" in failed else [classified(FOX)]), failures=failed)
    if not listed and "DETECTOR" in failed:
        del entry["detections"]
    found = overlay(tmp_path, [entry, new("img/b.jpg", classified(GOAT))])
    named = [row["media_id"] for row in found.observations.to_pylist()]
    assert named == (["img/a.jpg"] if failed == ["GEOLOCATION"] else []) + ["img/b.jpg"]
    assert ("img/a.jpg" in found.detections["key"].to_pylist()) == ("DETECTOR" not in failed)
    assert found.refused.counts == failure_counts(failed)


@pytest.mark.parametrize("failed", FAILED)
def test_a_prediction_of_the_whole_image_asks_no_detector(tmp_path: Path, failed: list[str]) -> None:
    """Up to 4.x."""
    found = overlay(tmp_path, [old("img/a.jpg", FOX, failures=failed)])
    assert found.observations["taxon"].to_pylist() == ([] if "CLASSIFIER" in failed else ["Vulpes vulpes"])
    assert found.refused.counts == failure_counts(failed)


@pytest.mark.parametrize(
    ("others", "blank"),
    [
        ([], False),
        ([{"filepath": "img/b.jpg", "detections": [box(conf=0.9)]}], False),
        ([{"filepath": "img/b.jpg", "detections": [box("0", 1.0) | {"raw_classifications": {}}]}], False),
        ([{"filepath": "img/b.jpg", "detections": [classified(FOX)]}], True),
        ([{"filepath": "img/b.jpg", "detections": [], "model_version": "4.0.3a"}], True),
        (["img/b.jpg", {"filepath": "img/b.jpg", "detections": [7]}], False),
    ],
    ids=["alone", "a detector's", "a classifier's", "a class", "all parts", "rubbish"],
)
def test_a_blank_is_inferred_only_where_the_classifier_ran(tmp_path: Path, others: list[Any], blank: bool) -> None:
    found = overlay(tmp_path, [{"filepath": "img/a.jpg", "detections": []}, *others])
    said = {row["media_id"]: row["type"] for row in found.observations.to_pylist()}
    assert said.get("img/a.jpg") == ("blank" if blank else None)
    assert ("not_classified" in found.refused.counts) == (not blank)
    assert found.detections["boxes"].to_pylist()[0] == [], "the detector found nothing, whoever classified"


def test_boxes_are_detections_and_category_2_is_human(tmp_path: Path) -> None:
    whole = classified(FOX, category="0", conf=1.0) | {"bbox": [0, 0, 1, 1]}
    found = overlay(tmp_path, [new("img/a.jpg", whole, box("2", 0.4), box("3", 0.3), box("1", 0.8))])
    assert found.detections.to_pylist()[0]["classes"] == ["animal", "human", "vehicle"]
    assert found.detections.to_pylist()[0]["confidences"] == pytest.approx([0.8, 0.4, 0.3])


def test_each_box_keeps_its_own_class(tmp_path: Path) -> None:
    (row,) = overlay(tmp_path, [new("img/a.jpg", box("2", 0.4), classified(FOX, 0.7))]).detections.to_pylist()
    fox = {"type": "animal", "label": "red fox", "taxon": "Vulpes vulpes", "rank": "species", "confidence": 0.7}
    assert [one and json.loads(one) for one in row["taxa"]] == [fox, None]
    (row,) = overlay(tmp_path, [old("img/a.jpg", FOX, detections=[box()])]).detections.to_pylist()
    assert row["taxa"] is None, "a prediction is of no box"


def test_a_weak_box_counts_neither_as_a_box_nor_as_a_label(tmp_path: Path) -> None:
    found = overlay(tmp_path, [new("img/a.jpg", classified(FOX, 0.9, conf=0.15))], threshold=0.2)
    assert found.detections.to_pylist()[0]["boxes"] == []
    assert [row["type"] for row in found.observations.to_pylist()] == ["blank"]


def test_parts_run_alone_are_told_from_the_whole(tmp_path: Path) -> None:
    raw = {"classes": [FOX], "scores": [0.9]}
    entries = [
        new("img/a.jpg", box("0", 1.0) | {"raw_classifications": raw}),  # classifier only, whole image
        {"filepath": "img/b.jpg", "detections": [box(conf=0.9)]},  # detector only
    ]
    found = overlay(tmp_path, entries)
    assert found.observations.num_rows == 0 and found.refused.counts == {"not_classified": 2}
    assert found.detections["key"].to_pylist() == ["img/b.jpg"]


@pytest.mark.parametrize("detection", [7, box(conf=None), box(conf="high")])
def test_a_box_that_cannot_be_read_makes_no_blank(tmp_path: Path, detection: Any) -> None:
    found = overlay(tmp_path, [new("img/a.jpg", detection)])
    assert found.observations.num_rows == 0 and found.refused.counts["not_classified"] == 1


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (old("img/a.jpg", "red fox"), "bad_class"),
        (old("img/a.jpg", None), "bad_class"),
        (old("img/a.jpg", FOX, 1.7), "bad_confidence"),
        (new("img/a.jpg", classified(FOX, None)), "bad_confidence"),
        (new("img/a.jpg", box() | {"processed_classification": None}), "bad_class"),
        ({"filepath": "img/a.jpg"}, "not_classified"),
        (old("img/c.jpg", FOX), "no_such_media"),
        (old("img/b.jpg", FOX), "duplicate_entry"),
        (old(7, FOX), "no_path"),  # pyright: ignore[reportArgumentType]
        ("img/a.jpg", "bad_row"),
    ],
)
def test_bad_entries_are_counted(tmp_path: Path, entry: Any, reason: str) -> None:
    found = overlay(tmp_path, [old("img/b.jpg", BLANK), entry])
    assert [row["type"] for row in found.observations.to_pylist()] == ["blank"]
    assert found.refused.counts == {reason: 1}


def test_a_later_file_replaces_what_it_names_and_other_origins_stay(tmp_path: Path) -> None:
    below = overlay(tmp_path, [old("img/a.jpg", FOX), old("img/b.jpg", FOX)])
    (tmp_path / "md.json").write_text(json.dumps({"images": [{"file": "img/b.jpg", "detections": [box()]}]}))
    below = MegaDetector(kind="megadetector", path="md.json").read(open_store(str(tmp_path)), below)
    found = overlay(tmp_path, [old("img/b.jpg", GOAT)], below)
    rows = {row["media_id"]: row["taxon"] for row in found.observations.to_pylist()}
    assert rows == {"img/a.jpg": "Vulpes vulpes", "img/b.jpg": "Capra aegagrus hircus"}
    assert found.detections["key"].to_pylist() == ["img/b.jpg"]


def test_absolute_paths_of_another_machine(tmp_path: Path) -> None:
    entry = old("D:\\traps\\2026\\a.jpg", FOX)
    assert overlay(tmp_path, [entry], images_prefix="img", cut_prefix="D:/traps/2026").observations.num_rows == 1
    with pytest.raises(DataRefused, match=r"sn\.json: none of its 1 files .*'D:.*a\.jpg'; are images_prefix ''"):
        overlay(tmp_path, [entry])


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sn.json").write_text(json.dumps({"images": [], "info": {}}))
    with pytest.raises(DataRefused, match=r"sn\.json: it has no list named 'predictions'"):
        SpeciesNet(kind="speciesnet", path="sn.json").read(open_store(str(tmp_path)), survey("a"))


@given(st.text(max_size=30))
def test_any_text_is_a_class_or_none(written: str) -> None:
    found = read_class(written)
    assert (found is None) == (written.count(";") != 6)
    assert found is None or (isinstance(found, MachineClass) and found.type in (*SPECIAL.values(), "unclassified"))
