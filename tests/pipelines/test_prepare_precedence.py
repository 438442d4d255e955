"""The precedence table, row by row against itself, against docs/formats.md, and what machines said beside it."""

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate.machines import name_of, surest
from pipelines.prepare.facts import Medium, facts, labels
from pipelines.prepare.incumbents import incumbents
from pipelines.prepare.precedence import PRECEDENCE, SILENT, TYPES, Standing, kind, who, winning
from tests.conftest import REPOSITORY
from tests.pipelines.test_prepare_captions import FOX, WOLF, observation

SPEAKERS: dict[str, list[dict[str, Any]]] = {
    "correction": [{"origin": "corrections", "method": "human"}],
    "people": [{"origin": "camtrap_dp", "method": "human"}, {"origin": "coco_camera_traps", "method": None}],
    "machine": [{"origin": "camtrap_dp", "method": "machine"}],
    "speciesnet": [{"origin": "speciesnet", "method": "machine"}],
    "classifier": [{"origin": "megadetector_classifier", "method": "machine"}],
}
"""Rows of each speaker of the table; the test of the table fails where one is missing."""
ANIMAL_BOX = {"boxes": [[0, 0, 1, 1]], "confidences": [0.9], "classes": ["animal"]}
NO_BOX: dict[str, Any] = {"boxes": [], "confidences": [], "classes": []}


def rows_of(standing: Standing, taxon: dict[str, Any] = FOX, **columns: Any) -> list[dict[str, Any]]:
    """One row for each way in which that line of the table can be met."""
    levels = [standing.level] if standing.level else ["media", "event"]
    said = itertools.product(SPEAKERS[standing.who], levels)
    return [observation(taxon, **speaker, level=level, **columns) for speaker, level in said]


def label_of(*rows: dict[str, Any], boxes: dict[str, Any] | None = None) -> tuple[str | None, str | None]:
    found = facts(Medium({}, list(rows), boxes), False, False, 0.2)
    return found.get("type", {}).get("value"), found.get("taxon", {}).get("value")


@pytest.mark.parametrize(("higher", "lower"), list(itertools.combinations(PRECEDENCE, 2)))
def test_every_line_wins_over_every_line_below(higher: Standing, lower: Standing) -> None:
    for high, low in itertools.product(rows_of(higher, FOX), rows_of(lower, WOLF)):
        for order in ([high, low], [low, high]):
            assert winning(order) == [high]
            assert label_of(*order, boxes=ANIMAL_BOX) == ("animal", "Vulpes vulpes")
    for high, low in itertools.product(rows_of(higher, FOX, type="blank"), rows_of(lower, WOLF)):
        assert label_of(low, high, boxes=ANIMAL_BOX)[0] == "blank"


@pytest.mark.parametrize("standing", PRECEDENCE)
def test_within_a_line_an_animal_wins_over_a_blank_and_two_animals_share(standing: Standing) -> None:
    for fox, blank in itertools.product(rows_of(standing), rows_of(standing, type="blank")):
        assert label_of(blank, fox, boxes=ANIMAL_BOX) == ("animal", "Vulpes vulpes")
    for fox, wolf in itertools.product(rows_of(standing, FOX), rows_of(standing, WOLF)):
        assert label_of(fox, wolf, boxes=ANIMAL_BOX) == ("animal", "Canidae")


@pytest.mark.parametrize("silent", SILENT)
@pytest.mark.parametrize(("higher", "lower"), list(itertools.combinations(PRECEDENCE, 2)))
def test_the_unknown_never_wins_but_for_a_correction_that_takes_back(
    higher: Standing, lower: Standing, silent: str
) -> None:
    for high, low in itertools.product(rows_of(higher, type=silent), rows_of(lower, WOLF)):
        assert winning([high, low]) == ([] if higher.silences else [low])
    assert [standing.who for standing in PRECEDENCE if standing.silences] == ["correction"]


@pytest.mark.parametrize("standing", [one for one in PRECEDENCE if one.level == "event"])
def test_an_events_label_reaches_only_frames_with_an_animal_box(standing: Standing) -> None:
    for event, machine in itertools.product(rows_of(standing), rows_of(PRECEDENCE[-1], WOLF, type="blank")):
        machine["level"] = "media"
        assert label_of(event, machine, boxes=ANIMAL_BOX) == ("animal", "Vulpes vulpes")
        assert label_of(event, machine, boxes=NO_BOX)[0] == "blank"


def test_boxes_are_no_label() -> None:
    assert label_of(boxes=ANIMAL_BOX) == (None, None)
    assert label_of(observation(type="blank"), boxes=ANIMAL_BOX)[0] == "blank"


ROWS = st.builds(
    lambda speaker, taxon, **columns: observation(taxon, **speaker, **columns),
    st.sampled_from([one for ways in SPEAKERS.values() for one in ways]),
    st.sampled_from([FOX, WOLF]),
    level=st.sampled_from(["media", "event"]),
    type=st.sampled_from([*TYPES, *SILENT]),
)


@given(st.lists(ROWS, max_size=6), st.randoms())
def test_one_line_alone_speaks_whatever_the_order(rows: list[dict[str, Any]], random: Any) -> None:
    won = winning(rows)
    assert len({(who(row), row["level"] if who(row) == "people" else None) for row in won}) <= 1
    assert not [row for row in won if row["type"] in SILENT]
    assert won or all(row["type"] in SILENT for row in rows) or any(who(row) == "correction" for row in rows)
    shuffled = random.sample(rows, len(rows))
    assert kind(winning(shuffled)) == kind(won) and len(winning(shuffled)) == len(won)
    assert labels(Medium({}, rows, None), 0.2, undetected=True) == won


def test_every_line_has_a_speaker_and_the_documentation_shows_the_table() -> None:
    assert {standing.who for standing in PRECEDENCE} == SPEAKERS.keys()
    assert all(who(row) == standing.who for standing in PRECEDENCE for row in rows_of(standing))
    text = (REPOSITORY / "docs" / "formats.md").read_text()
    section = text.split("## Which label wins")[1].split("\n## ")[0]
    lines = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|", section, re.MULTILINE)
    shown = [
        (str(number), standing.meaning, standing.level or "either", "yes" if standing.silences else "no")
        for number, standing in enumerate(PRECEDENCE, 1)
    ]
    assert lines == shown


def test_machines_are_quoted_whether_or_not_they_won() -> None:
    fox = observation(FOX, origin="speciesnet", method="machine", confidence=0.75)
    empty = observation(origin="camtrap_dp", method="machine", type="blank", confidence=None, level="event")
    person = observation(WOLF)
    boxes = {"boxes": [[0, 0, 1, 1]] * 2, "confidences": [0.15, 0.4], "classes": ["human", "animal"]}
    said = json.loads(incumbents(Medium({}, [person, fox, empty], boxes), 0.2) or b"")
    lineage = {"class": "Mammalia", "family": "Canidae", "genus": "Vulpes", "species": "Vulpes vulpes"}
    nothing = {"taxon": None, "rank": None, "lineage": {}}
    assert said == [
        {"origin": "camtrap_dp", "type": "blank", **nothing, "confidence": None},
        {"origin": "speciesnet", "type": "animal", "taxon": "Vulpes vulpes", "rank": "species", "lineage": lineage,
         "confidence": 0.75},
        {"origin": "megadetector", "type": "animal", **nothing, "confidence": 0.4},
    ]  # fmt: skip


def test_the_classes_of_boxes_are_another_machines_word_than_the_boxes() -> None:
    """A detector surer of its animal than the classifier of its fox does not hide the fox."""
    fox = observation(FOX, origin="megadetector_classifier", method="machine", confidence=0.75)
    said = json.loads(incumbents(Medium({}, [fox], ANIMAL_BOX), 0.2) or b"")
    assert [(one["origin"], one["type"], one["taxon"], one["confidence"]) for one in said] == [
        ("megadetector_classifier", "animal", "Vulpes vulpes", 0.75),
        ("megadetector", "animal", None, 0.9),
    ]
    named = surest(said, "megadetector_classifier")
    assert named and named["taxon"] == "Vulpes vulpes"
    assert name_of(said[0]["origin"]) != name_of(said[1]["origin"]) == "MegaDetector"


@pytest.mark.parametrize(
    ("classes", "confidences", "verdict", "confidence"),
    [
        ([], [], "blank", None),
        (["animal"], [0.2], "animal", 0.2),
        (["animal"], [0.19], "blank", None),
        (["animal", "human"], [0.19, 0.9], "human", 0.9),
        (["human", "animal", "animal"], [0.9, 0.3, 0.8], "animal", 0.8),
        (["vehicle"], [0.5], "vehicle", 0.5),
        (["drone"], [0.9], "blank", None),
    ],
)
def test_the_detectors_verdict(
    classes: list[str], confidences: list[float], verdict: str, confidence: float | None
) -> None:
    detection = {"boxes": [[0, 0, 1, 1]] * len(classes), "confidences": confidences, "classes": classes}
    said = json.loads(incumbents(Medium(None, [], detection), 0.2) or b"")
    assert [(one["origin"], one["type"], one["confidence"]) for one in said] == [("megadetector", verdict, confidence)]


def test_a_frame_no_machine_saw_has_none() -> None:
    assert incumbents(Medium({}, [observation(FOX)], None), 0.2) is None
    assert incumbents(Medium(None, [], None), 0.2) is None
