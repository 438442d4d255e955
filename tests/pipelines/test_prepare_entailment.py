"""Entailment on a small taxonomy, all texts against all frames: codes beside a slow reading of the words themselves.

The reading knows nothing of claims and codes. It finds the noun of a text, asks which labels it is true of (yes, no, or
not told), counts animals, and answers for a frame: true, false, or open. Codes may never call a text true that is not,
and never false that is not; of a frame with one label they must find every true text. A label is about animals of one
kind, also where a frame has it twice: what it leaves open is true of all of them or of none.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch

from pipelines.prepare.attributes import Coder, extend
from pipelines.prepare.language import language
from tests.pipelines.labels import Frame, frame, label, names_of, observation, recorded, written
from xmodal.relations import truth

DOG = {"class": "Mammalia", "order": "Carnivora", "family": "Canidae"}
HARE = {"class": "Mammalia", "family": "Leporidae"}
RAVEN = {"class": "Aves", "family": "Corvidae"}
LABELS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    # name here: the label, and its ladder as a biologist writes it
    "red fox": (
        label("Vulpes vulpes", "species", DOG, eng="red fox", fra="renard"),
        DOG | {"genus": "Vulpes", "species": "Vulpes vulpes"},
    ),
    "silver fox": (
        label("Vulpes vulpes", "species", DOG, eng="silver fox"),
        DOG | {"genus": "Vulpes", "species": "Vulpes vulpes"},
    ),
    "arctic fox": (
        label("Vulpes lagopus", "species", DOG, eng="arctic fox", fra="renard"),
        DOG | {"genus": "Vulpes", "species": "Vulpes lagopus"},
    ),
    "any Vulpes": (label("Vulpes", "genus", DOG, eng="Vulpes species"), DOG | {"genus": "Vulpes"}),
    "wolf": (
        label("Canis lupus", "species", DOG, eng="wolf", fra="loup"),
        DOG | {"genus": "Canis", "species": "Canis lupus"},
    ),
    "dingo": (
        label("Canis lupus dingo", "subspecies", DOG, eng="dingo"),
        DOG | {"genus": "Canis", "species": "Canis lupus"},
    ),
    "any dog": (
        label("Canidae", "family", {"class": "Mammalia"}, eng="fox"),
        {"class": "Mammalia", "family": "Canidae"},
    ),
    "any hare": (label("Leporidae", "family", {"class": "Mammalia"}, eng="rabbit"), HARE),
    "hare": (
        label("Lepus europaeus", "species", HARE, eng="hare", fra="lièvre"),
        HARE | {"genus": "Lepus", "species": "Lepus europaeus"},
    ),
    "any bird": (label("Aves", "class", eng="Bird", fra="oiseau"), {"class": "Aves"}),
    "raven": (
        label("Corvus corax", "species", RAVEN, eng="raven", fra="corbeau"),
        RAVEN | {"genus": "Corvus", "species": "Corvus corax"},
    ),
    "roe deer": (
        label("Capreolus capreolus", "species", eng="roe deer"),
        {"genus": "Capreolus", "species": "Capreolus capreolus"},
    ),
    "deer": (label(None, None, eng="deer"), {}),
    "unnamed": (label(None, None), {}),
}
SECOND_FOX = {"red fox without taxon": (label(None, None, eng="red fox"), {})}
"""In the second world "red fox" stands for two labels, of which one has no taxon."""
EXCLUSIVE = [
    {"eng": {"rabbit", "dingo", "deer"}, "fra": {"renard"}},
    {"eng": {"rabbit", "dingo", "deer", "red fox"}, "fra": {"renard"}},
]
"""Names that stand for no single species, by world: they exclude each other, as classes do."""

NAMES = {
    "eng": {
        "red fox": "red fox(es)?", "silver fox": "silver fox(es)?", "arctic fox": "arctic fox(es)?|Arctic fox(es)?",
        "wolf": "wolf|wolves", "dingo": "dingos?", "fox": "fox(es)?", "rabbit": "rabbits?", "hare": "hares?",
        "raven": "ravens?", "roe deer": "roe deer", "deer": "deer",
    },
    "fra": {"renard": "renard", "loup": "loup", "lièvre": "lièvre", "corbeau": "corbeau"},
}  # fmt: skip
"""Vernacular names as they are written in texts."""
TAXA = {
    "eng": {
        ("family", "Canidae"): "canids?", ("family", "Leporidae"): "leporids?", ("family", "Corvidae"): "corvids?",
        ("class", "Aves"): "birds?", ("class", "Mammalia"): "mammals?",
        ("genus", "Vulpes"): "animals? of the genus Vulpes", ("genus", "Capreolus"): "animals? of the genus Capreolus",
    },
    "fra": {
        ("family", "Canidae"): "canidé", ("family", "Leporidae"): "léporidé", ("family", "Corvidae"): "corvidé",
        ("class", "Aves"): "oiseau", ("class", "Mammalia"): "mammifère",
        ("genus", "Vulpes"): "animal du genre Vulpes", ("genus", "Capreolus"): "animal du genre Capreolus",
    },
}  # fmt: skip
SPECIES = ("Vulpes vulpes", "Vulpes lagopus", "Canis lupus", "Lepus europaeus", "Corvus corax", "Capreolus capreolus")
KINDS = {"eng": {"animal": "animals?", "human": "person"}, "fra": {"animal": "animal", "human": "personne"}}
COUNTS = {"eng": {"single": (1, 1), "two": (2, 2), "several": (3, 9)},
          "fra": {"un seul individu": (1, 1), "deux individus": (2, 2), "trois à neuf individus": (3, 9)}}  # fmt: skip
STAGES = {"eng": {"adult": "adult", "juvenile": "juvenile"}, "fra": {"adulte": "adult", "juvénile": "juvenile"}}


@dataclass(frozen=True)
class Seen:
    """What a person who made the labels knows of a frame: (label, count, stage) of its animals, and people in it."""

    animals: tuple[tuple[str, int | None, str | None], ...] = ()
    people: bool = False
    blank: bool = False

    def facts(self, labels: Any) -> Frame:
        rows = [observation(labels[name][0], count=n, life_stage=stage) for name, n, stage in self.animals]
        rows += [observation(type="human")] * self.people + [observation(type="blank")] * self.blank
        return frame(*rows)


@dataclass(frozen=True)
class Said:
    """What a text says: its subject, the number of animals from least to most, their age."""

    what: str
    """blank | kind | taxon | name."""
    which: Any = None
    number: tuple[int, int] | None = None
    stage: str | None = None


def read(text: str, code: str) -> Said:
    """The longest words that name a subject win."""
    if text in language(code).words["blank"]:
        return Said("blank")
    words = [("taxon", taxon, pattern) for taxon, pattern in TAXA[code].items()]
    words += [("taxon", ("species", name), name) for name in SPECIES]
    words += [("name", name, pattern) for name, pattern in NAMES[code].items()]
    words += [("kind", kind, pattern) for kind, pattern in KINDS[code].items()]
    found = [
        (len(hit[0]), what, which) for what, which, pattern in words if (hit := re.search(rf"\b({pattern})\b", text))
    ]
    _, what, which = max(found)
    number = [limits for words, limits in COUNTS[code].items() if re.search(rf"\b{words}\b", text)]
    stage = [stage for words, stage in STAGES[code].items() if re.search(rf"\b{words}s?\b", text)]
    return Said(what, which, number[0] if number else None, stage[0] if stage else None)


@dataclass(frozen=True)
class Reader:
    """Answers for one world and one language: True, False, or None = not told."""

    labels: dict[str, tuple[dict[str, Any], dict[str, str]]]
    code: str
    exclusive: set[str]

    def answers(self, said: Said, seen: list["Seen"]) -> list[bool | None]:
        of_label = {} if said.what == "blank" else {name: self.true_of(said, name) for name in self.labels}
        return [self.answer(said, one, of_label) for one in seen]

    def true_of(self, said: Said, name: str) -> bool | None:
        """Whether the subject is true of the animals that a label is given to."""
        one, ladder = self.labels[name]
        if said.what == "kind":
            return said.which == "animal"
        if said.what == "taxon":
            rank, taxon = said.which
            return None if rank not in ladder else ladder[rank] == taxon
        bearers = [other for other, (its, _) in self.labels.items() if self.name(its) == said.which]
        for its, _ in (self.labels[other] for other in bearers):
            same = its is one or (
                its["taxon"] is not None and (its["taxon"], its["rank"]) == (one["taxon"], one["rank"])
            )
            if same or (its["rank"] == "species" and ladder.get("species") == its["taxon"]):
                return True
        alike = [its for its, _ in self.labels.values() if one["rank"] == "species" and its["taxon"] == one["taxon"]]
        if said.which in self.exclusive and self.exclusive & {self.name(its) for its in (one, *alike)}:
            return False
        clash = [any(ladder.get(rank, at) != at for rank, at in self.labels[other][1].items()) for other in bearers]
        return False if all(clash) else None

    def name(self, one: dict[str, Any]) -> str | None:
        return one["names"].get(self.code, "").lower() or None

    def answer(self, said: Said, seen: Seen, of_label: dict[str, bool | None]) -> bool | None:
        if said.what == "blank" or said.which == "human":
            return seen.blank if said.what == "blank" else seen.people
        told = [(of_label[name], count, stage) for name, count, stage in seen.animals]
        nouns = {one for one, _, _ in told}
        answers = [True if True in nouns else None if None in nouns else False]
        if said.number:
            least, most = said.number
            kinds = [self.labels[name][0]["taxon"] or name for name, _, _ in seen.animals]
            open_to = {
                kind: (True, False) if one is None else (one,) for kind, (one, _, _) in zip(kinds, told, strict=True)
            }
            chosen = [dict(zip(open_to, case, strict=True)) for case in product(*open_to.values())]
            cases = [[(n, case[kind]) for kind, (_, n, _) in zip(kinds, told, strict=True)] for case in chosen]
            low = [sum(count or 1 for count, of_it in case if of_it) for case in cases]
            high = [sum(count or math.inf for count, of_it in case if of_it) for case in cases]
            can = any(most >= fewest and least <= highest for fewest, highest in zip(low, high, strict=True))
            must = all(least <= fewest and highest <= most for fewest, highest in zip(low, high, strict=True))
            answers.append(True if must else None if can else False)
        if said.stage:
            stages = {stage for one, _, stage in told if one is not False}
            answers.append(True if stages == {said.stage} else None if stages & {None, said.stage} else False)
        return False if False in answers else None if None in answers else True


def frames(labels: Any) -> list[Seen]:
    """One label with every count and stage; two labels; people, people and an animal, nothing."""
    singles = [
        Seen(((name, n, stage),)) for name, n, stage in product(labels, (None, 1, 2, 5), (None, "adult", "juvenile"))
    ]
    further = ((1, "adult"), (2, None), (None, "juvenile"))
    pairs = [Seen(((one, n, "adult"), (two, 1, stage))) for one, two, (n, stage) in product(labels, labels, further)]
    return [*singles, *pairs, Seen(people=True), Seen((("red fox", 1, None),), people=True), Seen(blank=True)]


@pytest.mark.parametrize("world", [0, 1])
@pytest.mark.parametrize("code", ["eng", "fra"])
def test_codes_tell_what_the_words_tell(world: int, code: str) -> None:
    labels = LABELS | (SECOND_FOX if world else {})
    names = names_of([observation(one) for one, _ in labels.values()])
    seen = frames(labels)
    known = [one.facts(labels) for one in seen]
    own = [recorded(one, names) for one in known]
    coder = Coder(extend({}, own))
    texts = {}
    for number, one in enumerate(known):
        for text in written(one, names, code, str(number % 7)):
            if text.claims:
                texts.setdefault((read(text.text, code), tuple(coder.codes(text.claims))), text.text)
    v = torch.tensor([coder.codes(one) for one in own])
    true, possible = truth(torch.tensor([codes for _, codes in texts]), v)
    reader = Reader(labels, code, EXCLUSIVE[world][code])
    wrong, checked = [], Counter[bool | None]()
    for row, ((said, _), text) in enumerate(texts.items()):
        for at, answer in enumerate(reader.answers(said, seen)):
            by_codes = True if true[row, at] else None if possible[row, at] else False
            one_label = len(seen[at].animals) <= 1 and not (seen[at].animals and seen[at].people)
            checked[answer] += 1
            if by_codes not in (None, answer) or (answer and one_label and not by_codes):
                wrong.append((text, seen[at], f"codes {by_codes}, words {answer}"))
    assert not wrong, f"{len(wrong)} of {checked.total()}: {wrong[:8]}"
    assert len(texts) > 50 and all(checked[answer] > 1000 for answer in (True, False, None)), (len(texts), checked)
