"""Facts as attribute codes, so that "this text is true of that image" is arithmetic.

A text claims codes t, an image is recorded with codes v, -1 = unspecified. The text is true of the image exactly when
AND_a (t_a == -1 or t_a == v_a). The vocabulary gives each value of an attribute its code: its position in a list that
only ever grows, so codes written once stay true.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

NAMES = (
    "type",
    "class",
    "order",
    "family",
    "genus",
    "species",
    "common_name",
    "count_group",
    "life_stage",
    "sex",
    "behavior",
    "daylight",
    "infrared",
    "name_fra",
    "name_spa",
    "name_por",
    "name_deu",
)
"""The attributes (A of them), in the order of the codes; later ones are appended, and older codes end before them."""

FIXED: dict[str, list[str]] = {
    "type": ["animal", "human", "vehicle", "blank"],
    "count_group": ["one", "two", "several", "many"],
    "daylight": ["day", "night"],
    "infrared": ["no", "yes"],
}
"""Values known before any survey is read."""

RANKS = ("class", "order", "family", "genus", "species")
"""The ranks among them."""

BEHAVIORS = {"vigilant": "vigilance", "alert": "vigilance", "eating": "feeding", "travelling": "moving"}
"""Words of archives that say the same of what an animal does."""

Vocabulary = dict[str, list[str]]
Claims = dict[str, str]
"""Attribute to value."""


def count_group(count: int) -> str | None:
    """one, two, several (3 to 9), many (from 10); None for what is no count of animals seen."""
    if count < 1:
        return None
    return {1: "one", 2: "two"}.get(count, "several" if count < 10 else "many")


def name_attribute(language: str) -> str:
    """The attribute of names in a language (ISO 639-3)."""
    return "common_name" if language == "eng" else f"name_{language}"


def values(facts: Mapping[str, Mapping[str, Any]]) -> Claims:
    """Attribute to value, of the facts that an attribute stands for. Names are not among them: what they stand for is
    the lexicon's to say.

    A frame that shows animals and people or vehicles has no one `type`, and one of two foxes and a wolf no one count:
    "two foxes" is true of it, and "three animals" too.
    """
    found = {name: facts[name]["value"] for name in ("life_stage", "sex", "daylight") if name in facts}
    if "type" in facts and "also" not in facts["type"]:
        found["type"] = facts["type"]["value"]
    if "behavior" in facts:
        found["behavior"] = BEHAVIORS.get(facts["behavior"]["value"], facts["behavior"]["value"])
    found |= rank_values(facts["taxon"]) if "taxon" in facts else {}
    counted = "count" in facts and "mixed" not in facts["count"]
    group = count_group(facts["count"]["value"]) if counted else None
    found |= {"count_group": group} if group else {}
    return found | {"infrared": "yes" if facts["infrared"]["value"] else "no"}


def rank_values(taxon: Mapping[str, Any]) -> Claims:
    """Rank to name, from class to species, as a taxon fact settles them."""
    ranks = {**taxon["lineage"], taxon["rank"]: taxon["value"]} if taxon["value"] else taxon["lineage"]
    return {rank: ranks[rank] for rank in RANKS if ranks.get(rank)}


def extend(vocabulary: Vocabulary, found: Iterable[Mapping[str, str]]) -> Vocabulary:
    """The vocabulary with the values it lacks appended, in alphabetical order."""
    new: dict[str, set[str]] = {name: set(FIXED.get(name, [])) for name in NAMES}
    for row in found:
        for name, value in row.items():
            new[name].add(value)
    grown = {}
    for name in NAMES:
        old = vocabulary.get(name) or FIXED.get(name, [])
        grown[name] = old + sorted(new[name] - set(old))
    return grown


class Coder:
    """Values to codes by one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._codes = {name: {value: code for code, value in enumerate(vocabulary[name])} for name in NAMES}

    def codes(self, claimed: Mapping[str, str]) -> list[int]:
        """(A,) codes of attribute to value. Raises KeyError for a value the vocabulary lacks."""
        return [self._codes[name][claimed[name]] if name in claimed else -1 for name in NAMES]

    def packed(self, claimed: Mapping[str, str]) -> bytes:
        """The same as int32 bytes."""
        return np.array(self.codes(claimed), "<i4").tobytes()
