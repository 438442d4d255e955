"""Facts and captions: what a text claims is recorded of its image, and a text names nothing that is not."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.prepare import captions
from pipelines.prepare.attributes import NAMES, Coder, extend, values
from pipelines.prepare.facts import Medium, facts, lineage

FOX = {"taxon": "Vulpes vulpes", "rank": "species", "names": {"eng": "red fox", "fra": "renard roux"},
       "lineage": {"class": "Mammalia", "family": "Canidae"}}  # fmt: skip
WOLF = {"taxon": "Canis lupus", "rank": "species", "names": {"eng": "wolf"}, "lineage": FOX["lineage"]}
MUSTELID = {"taxon": "Mustelidae", "rank": "family", "names": {}, "lineage": {"class": "Mammalia"}}
NAMELESS = {"taxon": "Meles", "rank": "genus", "names": {}, "lineage": {}}


def observation(taxon: dict[str, Any] | None = None, **columns: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(("count", "life_stage", "sex", "behavior", "caption", "box", "confidence"))
    row |= {"level": "media", "type": "animal", "label": None, "method": "human", "origin": "test"}
    taxon = taxon or {"taxon": None, "rank": None, "names": {}, "lineage": {}}
    return row | taxon | {name: json.dumps(taxon[name]) for name in ("names", "lineage")} | columns


def known(*rows: dict[str, Any], infrared: bool = False, time: str | None = None, boxes: dict[str, Any] | None = None):
    return facts(Medium({"captured_at": time}, list(rows), boxes), infrared, time is not None, 0.2)


TAXA = st.sampled_from([FOX, WOLF, MUSTELID, NAMELESS, None])
ROWS = st.builds(
    lambda taxon, **columns: observation(taxon, **columns),
    TAXA,
    type=st.sampled_from(["animal", "blank", "unknown"]),
    count=st.one_of(st.none(), st.integers(1, 15)),
    life_stage=st.sampled_from([None, "adult", "juvenile"]),
    sex=st.sampled_from([None, "female", "male"]),
    behavior=st.sampled_from([None, "foraging", "vigilance", "a|b"]),
    level=st.sampled_from(["media", "event"]),
)
FRAMES = st.builds(
    lambda rows, infrared, hour: known(*rows, infrared=infrared, time=hour),
    st.lists(ROWS, max_size=3),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 23).map("2024-05-05 {:02d}:30:00".format)),
)


@given(FRAMES, st.text(max_size=5))
def test_an_image_entails_each_of_its_texts(frame: dict[str, Any], sample: str) -> None:
    coder = Coder(extend({}, [values(frame)]))
    v = np.array(coder.codes(values(frame)))
    texts = captions.captions(frame, sample, 0, coder)
    t = np.array([one["codes"] for one in texts]).reshape(-1, len(NAMES))
    assert ((t == -1) | (t == v)).all() and (t >= 0).any(1).all()
    assert len({one["text"] for one in texts}) == len(texts)
    assert bool(texts) == (frame.get("type", {}).get("value") in ("animal", "blank"))


@given(FRAMES, FRAMES)
def test_codes_and_claims_tell_the_same_entailment(first: dict[str, Any], second: dict[str, Any]) -> None:
    """AND_a (t_a == -1 or t_a == v_a) is exactly: every claimed value is recorded."""
    coder = Coder(extend({}, [values(first), values(second)]))
    recorded = values(second)
    v = coder.codes(recorded)
    for text, claims in captions._texts(first, "sample", 0):
        t = coder.codes(claims)
        by_codes = all(a in (-1, b) for a, b in zip(t, v, strict=True))
        assert by_codes == all(recorded.get(name) == value for name, value in claims.items()), text


@given(FRAMES)
def test_no_text_names_a_species_that_is_not_recorded(frame: dict[str, Any]) -> None:
    recorded = values(frame)
    for text, _ in captions._texts(frame, "sample", 0):
        assert ("Vulpes vulpes" in text) <= (recorded.get("species") == "Vulpes vulpes")
        assert ("fox" in text) <= (recorded.get("common_name") == "red fox")


def test_two_species_in_a_frame_leave_what_they_share() -> None:
    frame = known(observation(FOX, count=1), observation(WOLF, count=2))
    assert frame["taxon"] == {
        "value": "Canidae",
        "rank": "family",
        "lineage": {"class": "Mammalia"},
        "names": {},
        "source": "test/human",
    }
    assert frame["count"]["value"] == 3 and [one["taxon"] for one in frame["taxa"]["value"]] == [
        "Canis lupus",
        "Vulpes vulpes",
    ]
    assert not {"species", "genus", "common_name"} & values(frame).keys()


def test_people_overrule_machines() -> None:
    frame = known(observation(WOLF, method="machine"), observation(FOX))
    assert frame["taxon"]["value"] == "Vulpes vulpes"


def test_lineage_tells_what_the_name_itself_tells() -> None:
    assert lineage(observation(FOX)) == {
        "class": "Mammalia", "family": "Canidae", "genus": "Vulpes", "species": "Vulpes vulpes",
    }  # fmt: skip
    trinomial = {"taxon": "Canis lupus dingo", "rank": "subspecies", "names": {}, "lineage": {}}
    assert lineage(observation(trinomial))["species"] == "Canis lupus"
    assert lineage(observation(NAMELESS)) == {"genus": "Meles"}


def test_the_canonical_text_comes_first_with_the_best_name_recorded() -> None:
    def first(taxon: dict[str, Any] | None) -> str:
        frame = known(observation(taxon))
        return captions.captions(frame, "s", 0, Coder(extend({}, [values(frame)])))[0]["text"]

    assert first(FOX) == "a camera-trap image of a red fox"
    assert first(FOX | {"names": {}}) == "a camera-trap image of Vulpes vulpes"
    assert first(MUSTELID) == "a camera-trap image of a mustelid"
    assert first(NAMELESS) == "a camera-trap image of an animal of the genus Meles"
    assert first(None) == "a camera-trap image of an animal"
    assert captions.species_prompts("Vulpes vulpes", "red fox")[0] == first(FOX)


@pytest.mark.parametrize(
    ("noun", "phrase", "plural"),
    [
        ("European badger", "a European badger", "European badgers"),
        ("ocelot", "an ocelot", "ocelots"),
        ("white goose", "a white goose", "white geese"),
        ("mongoose", "a mongoose", "mongooses"),
        ("roe deer", "a roe deer", "roe deer"),
        ("harvest mouse", "a harvest mouse", "harvest mice"),
        ("maned wolf", "a maned wolf", "maned wolves"),
        ("red fox", "a red fox", "red foxes"),
        ("monkey", "a monkey", "monkeys"),
        ("guppy", "a guppy", "guppies"),
        ("thrush", "a thrush", "thrushes"),
        ("ungulate", "an ungulate", "ungulates"),
        ("onager", "an onager", "onagers"),
    ],
)
def test_articles_and_plurals(noun: str, phrase: str, plural: str) -> None:
    assert captions.english().article(noun) == phrase
    assert captions.english().plural(noun) == plural


def test_a_vocabulary_only_grows() -> None:
    first = extend({}, [{"species": "B"}, {"species": "C"}])
    second = extend(first, [{"species": "A"}, {"species": "C"}])
    assert first["species"] == ["B", "C"] and second["species"] == ["B", "C", "A"]
    assert list(second) == list(NAMES) and second["infrared"] == ["no", "yes"]
    claimed = {"species": "C", "infrared": "yes"}
    assert Coder(first).codes(claimed) == Coder(second).codes(claimed)


def test_texts_say_of_an_animal_only_what_they_are_told_to() -> None:
    frame = {
        "infrared": {"value": True},
        "type": {"value": "animal"},
        "sex": {"value": "male"},
        "taxon": {"value": "Vulpes vulpes", "rank": "species", "lineage": {}, "names": {"eng": "red fox"}},
    }
    coder = Coder(extend({}, [values(frame)]))
    everything = [one["text"] for one in captions.captions(frame, "s", 0, coder)]
    visible = [one["text"] for one in captions.captions(frame, "s", 0, coder, says=("infrared",))]
    assert any("male" in text for text in everything) and not any("male" in text for text in visible)
    assert any("infrared" in text for text in visible)
