"""Facts and captions: what a text claims is recorded of its image, and a text names nothing that is not."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.demo.species import SPECIES
from pipelines.prepare import captions
from pipelines.prepare.attributes import BEHAVIORS, FIXED, NAMES, Coder, extend, name_attribute, values
from pipelines.prepare.english import English
from pipelines.prepare.facts import Medium, labels, lineage
from pipelines.prepare.language import available, language, version
from pipelines.prepare.settings import CaptionSettings
from tests.pipelines.caption_page import PAGE, page
from tests.pipelines.labels import Frame, frame, label, names_of, observation, recorded, written
from xmodal.settings import SettingsError, parse
from xmodal.wordpiece import UNK, WordPiece

DOGS = {"class": "Mammalia", "family": "Canidae"}
FOX = label("Vulpes vulpes", "species", DOGS, eng="red fox", fra="renard")
ARCTIC = label("Vulpes lagopus", "species", DOGS, eng="Arctic Fox", fra="renard", deu="Polarfuchs")
WOLF = label("Canis lupus", "species", DOGS, eng="wolf")
DINGO = label("Canis lupus dingo", "subspecies", DOGS, eng="dingo")
SOME_FOX = label("Canidae", "family", {"class": "Mammalia"}, eng="fox")
MUSTELID = label("Mustelidae", "family", {"class": "Mammalia"})
NAMELESS = label("Meles", "genus")
DEER = label(None, None, eng="deer")
LABELS = [FOX, ARCTIC, WOLF, DINGO, SOME_FOX, MUSTELID, NAMELESS, DEER]
LEXICON = names_of(observation(one) for one in LABELS)

ROWS = st.builds(
    lambda of, **columns: observation(of, **columns),
    st.sampled_from([*LABELS, None]),
    type=st.sampled_from(["animal", "animal", "blank", "human", "unknown"]),
    count=st.one_of(st.none(), st.integers(1, 15)),
    life_stage=st.sampled_from([None, "adult", "juvenile", "unknown", "larva"]),
    sex=st.sampled_from([None, "female", "Male"]),
    behavior=st.sampled_from([None, "foraging", "vigilant", "a|b", "glowing"]),
    level=st.sampled_from(["media", "event"]),
)
FRAMES = st.builds(
    lambda rows, infrared, hour: frame(*rows, infrared=infrared, time=hour),
    st.lists(ROWS, max_size=3),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 23).map("2024-05-05 {:02d}:30:00".format)),
)
CODES = st.sampled_from(available())


@given(FRAMES, st.text(max_size=5))
def test_an_image_entails_each_of_its_texts(known: Frame, sample: str) -> None:
    own = recorded(known, LEXICON)
    coder = Coder(extend({}, [own]))
    shown = captions.Shown(known, own, sample, 0, lexicon=LEXICON)
    found = captions.captions(shown, available(), coder)
    v = np.array(coder.codes(own))
    t = np.array([one["codes"] for one in found]).reshape(-1, len(NAMES))
    assert ((t == -1) | (t == v)).all()
    mixed = "also" in known.get("type", {})
    assert mixed or (t >= 0).any(1).all(), "only a frame of animals and people has texts that claim nothing"
    assert len({(one["language"], one["text"]) for one in found}) == len(found)
    named = known.get("type", {}).get("value") in ("animal", "human", "blank")
    assert {one["language"] for one in found} == (set(available()) if named else set())


@given(FRAMES, FRAMES, CODES)
def test_codes_and_claims_tell_the_same_entailment(first: Frame, second: Frame, code: str) -> None:
    """AND_a (t_a == -1 or t_a == v_a) is exactly: every claimed value is recorded."""
    own = recorded(second, LEXICON)
    coder = Coder(extend({}, [recorded(first, LEXICON), own]))
    v = coder.codes(own)
    for one in written(first, LEXICON, code):
        by_codes = all(a in (-1, b) for a, b in zip(coder.codes(one.claims), v, strict=True))
        assert by_codes == all(own.get(name) == value for name, value in one.claims.items()), one


SCIENTIFIC = re.compile("Vulpes vulpes|Vulpes lagopus|Canis lupus|Vulpes|Canis|Meles|Canidae|Mustelidae|Mammalia")
VERNACULAR = re.compile("red fox|arctic fox|fox|renard|polarfuchs|wolf|dingo|deer")


@given(st.lists(ROWS, max_size=3), CODES)
def test_no_text_names_a_taxon_below_or_beside_the_recorded_one(rows: list[dict[str, Any]], code: str) -> None:
    """Read off the texts themselves: every scientific name is on the ladder of every animal, and every vernacular name
    was given to every animal."""
    known = frame(*rows)
    animals = [row for row in labels(Medium(None, rows, None), 0.2) if row["type"] == "animal"]
    for one in written(known, LEXICON, code):
        for name in SCIENTIFIC.findall(one.text):
            assert all(name in lineage(row).values() for row in animals), one
        for name in VERNACULAR.findall(one.text.lower().replace("wolves", "wolf")):
            assert animals and all(name in row["names"].lower() for row in animals), one


def test_two_species_in_a_frame_leave_what_they_share() -> None:
    known = frame(observation(FOX, count=1), observation(WOLF, count=2))
    assert known["taxon"] == {
        "value": "Canidae",
        "rank": "family",
        "lineage": {"class": "Mammalia"},
        "names": {},
        "source": "test/human",
    }
    assert known["count"]["value"] == 3 and [one["taxon"] for one in known["taxa"]["value"]] == [
        "Canis lupus",
        "Vulpes vulpes",
    ]
    own = recorded(known, LEXICON)
    assert not {"species", "genus", "common_name", "name_fra"} & own.keys()
    assert "count_group" not in own, "two foxes and a wolf: no text about a number is settled by the sum"
    both = recorded(frame(observation(FOX, count=1), observation(ARCTIC, count=1)), LEXICON)
    assert both["name_fra"] == "renard" and both["genus"] == "Vulpes"


def test_a_frame_of_animals_and_people_has_no_single_type() -> None:
    known = frame(observation(FOX), observation(type="human"))
    assert known["type"] == {"value": "animal", "source": "test/human", "also": ["human"]}
    assert "type" not in values(known)
    assert written(known, LEXICON)[0].claims == {"species": "Vulpes vulpes"}


def test_people_overrule_machines() -> None:
    known = frame(observation(WOLF, method="machine"), observation(FOX))
    assert known["taxon"]["value"] == "Vulpes vulpes"


def test_what_an_archive_does_not_know_is_no_fact() -> None:
    known = frame(observation(FOX, life_stage="Unknown", sex="unk", behavior="NA"))
    assert not {"life_stage", "sex", "behavior"} & known.keys()
    assert frame(observation(FOX, life_stage=" Adult"))["life_stage"]["value"] == "adult"


def test_lineage_tells_what_the_name_itself_tells() -> None:
    assert lineage(observation(FOX)) == {
        "class": "Mammalia", "family": "Canidae", "genus": "Vulpes", "species": "Vulpes vulpes",
    }  # fmt: skip
    assert lineage(observation(label("Canis lupus dingo", "subspecies")))["species"] == "Canis lupus"
    assert lineage(observation(NAMELESS)) == {"genus": "Meles"}


def first(of: dict[str, Any] | None, code: str = "eng") -> str:
    known = frame(observation(of))
    return written(known, names_of([observation(of)]), code)[0].text


def test_the_canonical_text_comes_first_with_the_best_name_recorded() -> None:
    assert first(FOX) == "a camera-trap image of a red fox"
    assert first(FOX | {"names": {}}) == "a camera-trap image of Vulpes vulpes"
    assert first(MUSTELID) == "a camera-trap image of a mustelid"
    assert first(NAMELESS) == "a camera-trap image of an animal of the genus Meles"
    assert first(None) == "a camera-trap image of an animal"
    assert captions.species_prompts("Vulpes vulpes", "red fox")[0] == first(FOX)


def test_a_language_without_a_name_takes_the_scientific_one_and_translates_nothing() -> None:
    assert first(FOX, "fra") == "image de piège photographique : renard"
    assert first(FOX, "deu") == "Wildkamerabild: Vulpes vulpes"
    assert first(MUSTELID, "spa") == "imagen de cámara trampa: mustélido"
    assert first(NAMELESS, "por") == "imagem de armadilha fotográfica: animal do gênero Meles"
    sources = {
        code: [one.name_source for one in written(frame(observation(FOX)), LEXICON, code)] for code in ("fra", "deu")
    }
    assert sources["fra"][0] == "archive" and "archive" not in sources["deu"] and sources["deu"][0] == "scientific"
    assert (
        captions.class_texts(frame(observation(FOX))["taxon"], "fra")[-1]
        == "image de piège photographique : Vulpes vulpes"
    )
    assert captions.species_prompts("Vulpes vulpes", "Rotfuchs", "deu")[1] == "Rotfuchs vor einer Wildkamera"


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
    english = language("eng").grammar
    assert isinstance(english, English)
    assert english.article(noun) == phrase
    assert english.plural(noun) == plural


@pytest.mark.parametrize(
    ("code", "name", "text"),
    [
        ("eng", "White-tailed Deer", "a white-tailed deer"),
        ("eng", "NORTHERN TAMANDUA", "a northern tamandua"),
        ("eng", "South American Coati", "a South American coati"),
        ("eng", "european badger", "a European badger"),
        ("eng", "O'Connell's Spiny Rat", "an O'Connell's spiny rat"),
        ("eng", "bird sp.", "a bird"),
        ("eng", "Animal", "Vulpes vulpes"),
        ("fra", "Cerf de Virginie", "cerf de Virginie"),
        ("fra", "Renard Roux", "renard roux"),
        ("spa", "Tapir", "tapir"),
        ("deu", "Rotfuchs", "Rotfuchs"),
    ],
)
def test_names_of_archives_as_they_stand_in_a_sentence(code: str, name: str, text: str) -> None:
    frames = language(code).words["frames"]
    assert first(label("Vulpes vulpes", "species", {}, **{code: name}), code) == frames[0].format(subject=text)


def test_names_of_groups_that_are_no_name_of_an_animal() -> None:
    """A plural, and a scientific name once more; a label without taxon keeps the only name it has."""
    assert first(label("Ardea", "genus", eng="great herons")) == "a camera-trap image of an animal of the genus Ardea"
    cracid = label("Cracidae", "family", {"class": "Aves"}, eng="Cracidae Family")
    assert first(cracid) == "a camera-trap image of an animal of the family Cracidae"
    assert first(label(None, None, eng="Birds")) == "a camera-trap image of birds"
    cattle = observation(label("Bos taurus", "species", eng="Domestic Cattle"), count=2, life_stage="adult")
    texts = [one.text for one in written(frame(cattle), names_of([cattle]))]
    assert texts[0] == "a camera-trap image of domestic cattle" and any("adult domestic cattle" in one for one in texts)
    assert first(label("Gorilla gorilla", "species", eng="Gorilla")) == "a camera-trap image of a gorilla"


def test_what_is_known_of_animals_in_every_language() -> None:
    known = frame(
        observation(FOX, count=2, life_stage="adult", sex="female", behavior="eating"), time="2024-05-05 02:00"
    )
    last = {code: written(known, LEXICON, code)[-1].text for code in available()}
    inside = {
        "eng": "two adult female animals feeding at night",
        "fra": "animal (deux individus, adultes, femelles, en train de se nourrir, de nuit)",
        "spa": "animal (dos individuos, en edad adulta, hembras, alimentándose, de noche)",
        "por": "animal (dois indivíduos, em idade adulta, fêmeas, alimentando-se, à noite)",
        "deu": "Tier (zwei Tiere, erwachsen, weiblich, beim Fressen, bei Nacht)",
    }
    assert all(inside[code] in text for code, text in last.items()), last


def test_every_language_has_what_the_grammar_needs_and_says_each_thing_once() -> None:
    english = language("eng").words
    for code in available():
        words = language(code).words
        assert words["language"] == code and isinstance(words["version"], int) and name_attribute(code) in NAMES
        assert len(words["blank"]) == len(set(words["blank"])) == 4 and words["texts"] == english["texts"]
        frames = [*words["frames"], *words["held_out"]]
        assert len(words["frames"]) == len(words["held_out"]) == 5 and len(set(frames)) == 10
        assert all(one.count("{subject}") == 1 for one in frames)
        assert list(words["count"]) == FIXED["count_group"] and list(words["light"]) == FIXED["daylight"]
        assert list(words["infrared"]) == ["yes"] and set(words["ranks"]) == {"genus", "family", "order", "class"}
        for part in captions.ATTRIBUTES:
            phrases = [str(one) for one in words[part].values()]
            assert len(set(phrases)) == len(phrases), f"{code}: one phrase for two values of {part}"
            assert all(isinstance(value, str) for value in words[part]), (
                f"{code}: {part} holds what YAML took for no text"
            )
        assert set(words["behavior"]) <= set(english["behavior"]) and not BEHAVIORS.keys() & words["behavior"].keys()
        for rank, nouns in words["higher"].items():
            assert nouns.keys() <= english["higher"][rank].keys() | {"Columbidae"}
    kinds = ("frames", "held_out", "blank")
    frames = [one for code in available() for kind in kinds for one in language(code).words[kind]]
    assert len(set(frames)) == len(frames), "a text tells its language"


def test_languages_are_chosen_by_setting_and_a_wrong_one_is_one_line() -> None:
    assert available() == ("deu", "eng", "fra", "por", "spa") and CaptionSettings().languages == ("eng",)
    assert parse(CaptionSettings, {"languages": ["eng", "fra"]}).languages == ("eng", "fra")
    wrong = r"^languages: 'fre' is no language of captions; allowed: deu, eng, fra, por, spa; did you mean fra\?$"
    with pytest.raises(SettingsError, match=wrong):
        parse(CaptionSettings, {"languages": ["fre"]})
    with pytest.raises(SettingsError, match="eng is named twice"):
        parse(CaptionSettings, {"languages": ["eng", "eng"]})
    with pytest.raises(SettingsError, match="languages: "):
        parse(CaptionSettings, {"languages": []})
    assert version(("eng",)) == f"eng-{language('eng').words['version']}"
    assert version(("eng", "fra")).startswith(version(("eng",)) + " fra-")


def test_a_vocabulary_trained_on_all_languages_spells_each_text_apart() -> None:
    """Accents are stripped, as in BERT: no text becomes unknown or equal to another by it."""
    found = set()
    for species in SPECIES:
        of = label(species.taxon, "species", species.lineage, **species.names)
        columns = {"count": 2, "life_stage": "adult", "sex": "female", "behavior": "foraging"}
        known = frame(observation(of, **columns), infrared=True, time="2024-05-05 02:00:00")
        names = names_of([observation(of)])
        found |= {one.text for code in available() for n in range(20) for one in written(known, names, code, str(n))}
    texts = sorted(found)
    ids, mask = WordPiece.train(texts, 2000).encode(texts, 64)
    assert not (ids == UNK).any() and int(mask.sum(1).max()) < 64
    assert len({tuple(row) for row in ids.tolist()}) == len(texts) > 500


def test_the_same_seed_sample_and_facts_give_the_same_texts() -> None:
    known = frame(observation(FOX, count=2), time="2024-05-05 02:00:00")
    drawn = {sample: [one.text for one in written(known, LEXICON, "fra", sample)] for sample in map(str, range(40))}
    assert drawn == {sample: [one.text for one in written(known, LEXICON, "fra", sample)] for sample in drawn}
    seen = {text for texts in drawn.values() for text in texts}
    subject = "renard (deux individus, de nuit)"
    assert {one.format(subject=subject) for one in language("fra").words["frames"]} <= seen, "every frame is drawn"


@given(st.lists(st.sampled_from(LABELS), max_size=3), CODES)
def test_what_a_record_part_is_told_of_names_is_all_it_needs(own: list[dict[str, Any]], code: str) -> None:
    """The part of the lexicon that is about some labels gives the same record of every frame of them; a label that has
    nothing to do with them does not change it."""
    rows = [observation(of) for of in own]
    known, about = frame(*rows), LEXICON.about(rows)
    assert recorded(known, about) == recorded(known, LEXICON)
    assert written(known, about, code) == written(known, LEXICON, code)
    more = [observation(of) for of in [*LABELS, label("Meles meles", "species", eng="European badger", fra="blaireau")]]
    assert names_of(more).about(rows) == about


def test_the_sample_page_is_what_the_code_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.pipelines.caption_page"


def test_a_vocabulary_only_grows() -> None:
    one = extend({}, [{"species": "B"}, {"species": "C"}])
    two = extend(one, [{"species": "A"}, {"species": "C"}])
    assert one["species"] == ["B", "C"] and two["species"] == ["B", "C", "A"]
    assert list(two) == list(NAMES) and two["infrared"] == ["no", "yes"]
    claimed = {"species": "C", "infrared": "yes"}
    assert Coder(one).codes(claimed) == Coder(two).codes(claimed)
    older = {name: one[name] for name in NAMES[:13]}
    assert list(extend(older, [{"name_fra": "renard"}]))[13:] == list(NAMES[13:]), "attributes are appended"


def test_texts_say_of_an_animal_only_what_they_are_told_to() -> None:
    known = frame(observation(FOX, sex="male"), infrared=True)
    everything = [one.text for one in written(known, LEXICON)]
    visible = [one.text for one in written(known, LEXICON, says=("infrared",))]
    assert any("male" in text for text in everything) and not any("male" in text for text in visible)
    assert any("infrared" in text for text in visible)
