"""Words of the project's own captions: which name the animal, which say nothing, and which CCS swaps in for which."""

import json
import re
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pipelines.prepare.attributes import NAMES, RANKS, Claims, Coder, extend
from pipelines.prepare.captions import Text
from pipelines.prepare.language import available, language
from pipelines.train.caption_words import CaptionWords
from pipelines.train.samples import caption_identifier
from tests.pipelines.labels import Frame, frame, label, names_of, observation, recorded, written
from tests.xmodal import tiny
from xmodal.batch import Batch
from xmodal.model import CrossModalModel
from xmodal.relations import KIN, LABELLED, SHOWN
from xmodal.tasks.swapping import OtherSample
from xmodal.wordpiece import WordPiece
from xmodal.words import ANIMAL, ANIMALS, NONE, STOP

LENGTH = 40
TEXT = tiny.SETTINGS["text"] | {"length": LENGTH}


class Told(NamedTuple):
    """Texts as a batch has them, by a vocabulary of whole words."""

    pieces: WordPiece
    tokens: torch.Tensor
    mask: torch.Tensor
    words: torch.Tensor

    @classmethod
    def of(cls, said: list[tuple[Frame, str]]) -> "Told":
        texts = [text for _, text in said]
        pieces = WordPiece.train(texts * 2, 8000)
        tokens, mask = pieces.encode(texts, LENGTH)
        table = CaptionWords(tiny.settings(text=TEXT).text, pieces.to_json(), LENGTH)
        rows = table.of([{"facts": json.dumps(known)} for known, _ in said], [[text] for text in texts])
        words = np.stack([np.frombuffer(row[0], np.int64) for row in rows])
        return cls(pieces, tokens, mask, table.tensor(words.view(np.uint8), tokens.shape[1]))

    def read(self, row: int) -> list[tuple[str, int]]:
        """The words of a text with their ids; specials are among them."""
        places = zip(self.tokens[row].tolist(), self.words[row].tolist(), strict=True)
        return [(self.pieces.tokens[token], word) for token, word in places]

    def naming(self, row: int) -> list[str]:
        """The words that name the animal."""
        return [text for text, word in self.read(row) if word >= ANIMAL]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grey wolf", "grey wolves"),
        ("wood mouse", "wood mice"),
        ("Egyptian goose", "egyptian geese"),
        ("rock wallaby", "rock wallabies"),
        ("musk ox", "musk oxen"),
        ("red deer", "red deer"),
        ("red fox", "red foxes"),
        ("hermit of the desert", "hermits desert"),
    ],
)
def test_a_name_in_the_plural_has_the_words_of_the_name(name: str, said: str) -> None:
    of = label("Canis lupus", "species", eng=name)
    one, two = (frame(observation(of, count=count)) for count in (1, 2))
    texts = [one.text for one in written(two, names_of([observation(of)]))]
    (plural,) = [text for text in texts if f"two {said[:4]}" in text.lower()]
    told = Told.of([(one, name), (two, plural)])
    assert told.naming(1) == said.split()
    ids = [[word for _, word in told.read(row) if word >= ANIMAL] for row in range(2)]
    assert ids[0] == ids[1]


def test_a_taxon_above_the_animal_is_one_of_its_names() -> None:
    of = label("Colinus virginianus", "species", {"family": "Odontophoridae"})
    seen = frame(observation(of))
    (text,) = [one.text for one in written(seen, names_of([observation(of)])) if "family" in one.text]
    assert Told.of([(seen, text)]).naming(0) == ["odontophoridae"]


WORDS_OF_NAMES = {
    "eng": {"white", "tailed", "deer", "odocoileus", "virginianus"},
    "fra": {"cerf", "virginie", "odocoileus", "virginianus"},
    "spa": {"venado", "cola", "blanca", "odocoileus", "virginianus"},
    "por": {"veado", "galheiro", "norte", "odocoileus", "virginianus"},
    "deu": {"hirsch", "neuen", "welt", "cervidae", "odocoileus", "virginianus"},
}
NAMED = {
    "eng": "white-tailed deer",
    "fra": "cerf de Virginie",
    "spa": "venado de cola blanca",
    "por": "veado-galheiro do norte",
    "deu": "Hirsch der neuen Welt",
}


@pytest.mark.parametrize("code", available())
def test_stop_words_of_no_language_name_an_animal(code: str) -> None:
    of = label("Odocoileus virginianus", "species", {"family": "Cervidae"}, **NAMED)
    seen = [frame(observation(of, count=n, sex="male"), infrared=True, time="2024-01-01T23:00:00") for n in (1, 2, 5)]
    said = [(known, one.text) for known in seen for one in written(known, names_of([observation(of)]), code)]
    told = Told.of(said)
    naming = {word for row in range(len(said)) for word in told.naming(row)}
    assert naming == WORDS_OF_NAMES[code]
    stopped = {text for row in range(len(said)) for text, word in told.read(row) if word == NONE and text.isalpha()}
    assert stopped <= STOP and len(stopped) >= 3


SHORT = {
    "eng": {"bat", "day", "odd", "old", "see"},
    "fra": {"dix", "vol"},
    "spa": {"dia", "mas", "pie"},
    "por": {"ave", "dez", "dia", "pe"},
    "deu": {"bar", "hat", "nur", "tag"},
}
"""Words of at most three letters in our own captions that are no articles, prepositions, conjunctions or auxiliaries;
"hat" is one, and a thing in English."""


@pytest.mark.parametrize("code", available())
def test_short_words_of_our_captions_are_stop_words(code: str) -> None:
    words = language(code).words
    parts = ("frames", "blank", "count", "stage", "sex", "light", "infrared", "behavior", "ranks")
    forms = [words[part] for part in parts]
    text = re.sub(r"\{\w+\}", "", json.dumps(forms, ensure_ascii=False))
    told = Told.of([({}, text)])
    short = {word for word, own in told.read(0) if own != NONE and len(word) <= 3 and word.isalpha()}
    assert short <= SHORT[code]
    assert {form.lower() for form in language(code).grammar.forms(words["animal"])} <= ANIMALS


CERVID = {"class": "Mammalia", "order": "Artiodactyla", "family": "Cervidae"}
CANID = {"class": "Mammalia", "order": "Carnivora", "family": "Canidae"}
CORVID = {"class": "Aves", "order": "Passeriformes", "family": "Corvidae"}
LABELS = {
    "roe deer": label("Capreolus capreolus", "species", CERVID, eng="roe deer", fra="chevreuil"),
    "roe": label("Capreolus capreolus", "species", CERVID, eng="European roe"),
    "red deer": label("Cervus elaphus", "species", CERVID, eng="red deer", fra="cerf"),
    "deer": label("Cervidae", "family", CERVID, eng="deer"),
    "fox": label("Vulpes vulpes", "species", CANID, eng="red fox", fra="renard"),
    "wolf": label("Canis lupus", "species", eng="grey wolf"),
    "mammal": label("Mammalia", "class"),
    "raven": label("Corvus corax", "species", CORVID, eng="raven"),
    "no taxon": label(None, None, eng="moose"),
    "animal": label(None, None),
}
TRUE_OF: dict[str, tuple[str, str]] = {
    "roe": ("genus", "Capreolus"), "chevreuil": ("genus", "Capreolus"), "capreolus": ("genus", "Capreolus"),
    "cerf": ("genus", "Cervus"), "elaphus": ("genus", "Cervus"), "cervus": ("genus", "Cervus"),
    "fox": ("genus", "Vulpes"), "foxes": ("genus", "Vulpes"), "renard": ("genus", "Vulpes"),
    "vulpes": ("genus", "Vulpes"), "wolf": ("genus", "Canis"), "wolves": ("genus", "Canis"),
    "canis": ("genus", "Canis"), "raven": ("genus", "Corvus"), "ravens": ("genus", "Corvus"),
    "deer": ("family", "Cervidae"), "cervide": ("family", "Cervidae"), "canid": ("family", "Canidae"),
    "canide": ("family", "Canidae"), "corvid": ("family", "Corvidae"), "corvide": ("family", "Corvidae"),
    "mammal": ("class", "Mammalia"), "mammals": ("class", "Mammalia"), "mammifere": ("class", "Mammalia"),
    "animal": ("type", "animal"), "animals": ("type", "animal"), "person": ("type", "human"),
    "individu": ("type", "animal"), "individus": ("type", "animal"),
}  # fmt: skip
"""What a word is true of."""


class Pair(NamedTuple):
    """A frame with one of its texts."""

    name: str
    known: Frame
    recorded: Claims
    text: Text

    @property
    def ladder(self) -> dict[str, str]:
        """Rank to taxon, from its type down, as a biologist has it; a frame with a person in it has two types."""
        if self.name in ("blank", "human"):
            return {"type": self.name}
        of = LABELS[self.name]
        ranks = (
            of["lineage"] | (CANID if self.name == "wolf" else {}) | ({of["rank"]: of["taxon"]} if of["rank"] else {})
        )
        genus = {"genus": of["taxon"].split()[0]} if of["rank"] == "species" else {}
        return ranks | genus | ({} if "also" in self.known["type"] else {"type": "animal"})

    def related(self, other: "Pair") -> bool:
        """Whether one may be the other, or above or below it."""
        return all(taxon == other.ladder.get(rank, taxon) for rank, taxon in self.ladder.items())

    def true(self, rank: str, taxon: str) -> bool:
        """Whether a word for the taxon may be true of what is shown."""
        return self.ladder.get(rank, taxon if self.name in LABELS else None) == taxon


def pairs() -> list[Pair]:
    """Every text in two languages of every label, by day and at night, one animal and two, with a person or without; of
    an empty frame and of a person."""
    names = names_of([observation(of) for of in LABELS.values()])
    seen = {(kind, frame_of(observation(type=kind))) for kind in ("blank", "human")}
    for (name, of), count, hour, person in product(LABELS.items(), (1, 2), (3, 12), (False, True)):
        rows = [observation(of, count=count)] + [observation(type="human")] * person
        seen.add((name, frame_of(*rows, time=f"2024-06-01T{hour:02}:00:00", infrared=hour == 3)))
    found = {}
    for name, document in sorted(seen):
        known = json.loads(document)
        for code in ("eng", "fra"):
            for text in written(known, names, code):
                found[document, text.text] = Pair(name, known, recorded(known, names), text)
    return list(found.values())


def frame_of(*rows: dict[str, Any], **changes: Any) -> str:
    return json.dumps(frame(*rows, **changes))


def batch_of(all_pairs: list[Pair], told: Told, step: int) -> Batch:
    coder = Coder(extend({}, [one.recorded for one in all_pairs]))
    number = torch.arange(len(all_pairs))
    drawn = tiny.batch(len(all_pairs), side=32, step=step)
    return Batch(
        image=drawn.image,
        text=told.tokens,
        text_mask=told.mask,
        caption=told.tokens,
        sample_id=number,
        caption_id=torch.tensor([caption_identifier(one.text.text) for one in all_pairs]),
        sequence_id=drawn.sequence_id,
        image_codes=torch.tensor([coder.codes(one.recorded) for one in all_pairs], dtype=torch.int32),
        text_codes=torch.tensor([coder.codes(one.text.claims) for one in all_pairs], dtype=torch.int32),
        valid=drawn.valid,
        slot=number,
        step=step,
        words=told.words,
    )


def test_the_columns_that_say_what_is_shown() -> None:
    assert NAMES[SHOWN] == ("type", *RANKS) and NAMES[KIN] == ("family", "genus")
    assert NAMES[LABELLED.stop :][:2] == ("daylight", "infrared")


def inter(told: Told) -> CrossModalModel:
    """A host of both directions with CCS between samples."""
    tasks = {"itc": None, "triplet": {}, "ccs": {"source": "inter"}}
    settings = tiny.settings(**tiny.FOUR_REGIONS, text=TEXT, matcher={"kind": "bfan", "width": 8}, tasks=tasks)
    return CrossModalModel(settings, told.pieces, len(NAMES), 0)


def test_what_ccs_swaps_in_is_of_another_animal_and_a_word_that_the_text_does_not_have() -> None:
    """Each pair of the world beside the samples that some steps give it; what is true of which animal is read from
    words and ladders by hand."""
    world = pairs()
    told = Told.of([(one.known, one.text.text) for one in world])
    built, met, swapped = inter(told), set[tuple[str, str]](), set[tuple[str, str]]()
    source = built.tasks["ccs"].source
    assert isinstance(source, OtherSample)
    for step in range(3):
        seen = tiny.encodings(built, batch_of(world, told, step))
        for record in seen.hosted.records:
            rows, has = source._partners(seen, record)  # pyright: ignore[reportPrivateUsage]
            _, allowed = source(seen, record)
            assert not allowed[~has].any()
            for at in has.nonzero().flatten().tolist():
                own, other = world[at], world[int(rows[at])]
                assert not own.related(other), (own, other)
                met.add((own.name, other.name))
                if record.direction == "t2i":
                    words = {told.read(int(rows[at]))[j][0] for j in allowed[at].any(0).nonzero().flatten().tolist()}
                    assert not words & {text for text, _ in told.read(at)}
                    true = {word for word in words & TRUE_OF.keys() if own.true(*TRUE_OF[word])}
                    assert not true, (own, other)
                    swapped |= {(own.name, word) for word in words}
    assert all({"blank", "human"} & set(pair) for pair in met if {"animal", "no taxon"} & set(pair))
    assert {("roe deer", "fox"), ("fox", "deer"), ("wolf", "raven")} <= met and {"human", "blank"} <= set(dict(met))
    assert {("roe deer", "fox"), ("roe", "night"), ("fox", "roe"), ("fox", "deer"), ("wolf", "fox")} <= swapped
