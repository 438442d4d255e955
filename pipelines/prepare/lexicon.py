"""What the names of animals stand for in a dataset: computed from all its labels, so that a text claims neither more
nor less than its names mean there.

A name in a language is true of every taxon that some label gives it to, its bearers. Where these are one species, the
name claims the species: "feral hog" is then true of a frame that another survey labels "wild boar". Where several taxa
share it, or it names what is no species (a genus, a family, a label without scientific name), it claims itself, as a
value of the language's name attribute, and the ranks on which all bearers agree; an image is recorded with the one such
name that its taxon bears. So "rabbit" given to the family Leporidae is true of frames labelled so, neither true nor
false of a hare (a species, which bears no such name), and false of a bird.

Names that claim themselves exclude each other, as the classes of an archive's own list do. So a name is not used where
a taxon that it names lies above one with another such name: "small cat" of Felidae beside "cat" of Felis.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.prepare.attributes import Claims, name_attribute, rank_values
from pipelines.prepare.facts import Observation, taxon_fact
from pipelines.prepare.language import language

LABEL = ("taxon", "rank", "lineage", "names")
"""Columns of an observation that say what it is called."""


@dataclass(frozen=True)
class Lexicon:
    """Names (in lower case) by language; plain data, so that it travels to workers and into digests."""

    meanings: dict[str, dict[str, Claims]] = field(default_factory=dict)
    """language -> name -> what a text with this name claims."""
    species: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """species -> language -> the names its labels bear."""

    def meaning(self, taxon: Mapping[str, Any], code: str) -> Claims | None:
        """What the name of a taxon fact claims in a language; None without a name."""
        name = vernacular(taxon, code)
        return self.meanings.get(code, {}).get(name.lower()) if name else None

    def recorded(self, taxon: Mapping[str, Any] | None) -> Claims:
        """Attribute values that an image of this taxon fact is recorded with; no value where it bears several."""
        found: Claims = {}
        if taxon is None:
            return found
        for code in self.meanings:
            shared = [name for name in self._borne(taxon, code) if name_attribute(code) in self.meanings[code][name]]
            if len(shared) == 1:
                found[name_attribute(code)] = shared[0]
        return found

    def _borne(self, taxon: Mapping[str, Any], code: str) -> list[str]:
        """Names known here that are true of the taxon: its own, and all that labels of its species bear."""
        borne = set(self.species.get(rank_values(taxon).get("species", ""), {}).get(code, []))
        if own := vernacular(taxon, code):
            borne.add(own.lower())
        return sorted(borne & self.meanings[code].keys())

    def about(self, rows: Iterable[Observation]) -> "Lexicon":
        """The part of it that records of these observations depend on."""
        taxa = labels(rows)
        species = {name for taxon in taxa if (name := rank_values(taxon).get("species")) in self.species}
        meanings = {
            code: {name: own[name] for name in sorted({name for taxon in taxa for name in self._borne(taxon, code)})}
            for code, own in self.meanings.items()
        }
        return Lexicon(meanings, {name: self.species[name] for name in sorted(species)})

    def values(self) -> Iterable[Claims]:
        """Every value of a name attribute, for the vocabulary."""
        for code, own in self.meanings.items():
            yield from ({name_attribute(code): name} for name, claims in own.items() if name_attribute(code) in claims)


def lexicon(taxa: Iterable[Mapping[str, Any]], codes: Iterable[str]) -> Lexicon:
    """The lexicon of labels, given as taxon facts, in the languages `codes`."""
    taxa = list(taxa)
    meanings: dict[str, dict[str, Claims]] = {}
    species: dict[str, dict[str, list[str]]] = {}
    for code in codes:
        bearers: dict[str, list[Mapping[str, Any]]] = {}
        for taxon in taxa:
            if name := vernacular(taxon, code):
                bearers.setdefault(name.lower(), []).append(taxon)
        found = {name: _meaning(name, own, code) for name, own in sorted(bearers.items())}
        meanings[code] = _without_nested(found, bearers, name_attribute(code))
        for name, own in sorted(bearers.items()):
            for one in {taxon["value"] for taxon in own if taxon["rank"] == "species"}:
                species.setdefault(one, {}).setdefault(code, []).append(name)
    return Lexicon(meanings, species)


def _meaning(name: str, bearers: list[Mapping[str, Any]], code: str) -> Claims:
    if all(one["rank"] == "species" and one["value"] == bearers[0]["value"] for one in bearers):
        return {"species": bearers[0]["value"]}
    first, *rest = (rank_values(one) for one in bearers)
    agreed = {rank: taxon for rank, taxon in first.items() if all(other.get(rank) == taxon for other in rest)}
    for rank, taxon in agreed.items():
        if language(code).words["higher"].get(rank, {}).get(taxon, "").lower() == name:
            return {rank: taxon}  # "bird" of Aves: our own noun for all of it
    return {name_attribute(code): name} | agreed


def _without_nested(
    meanings: dict[str, Claims], bearers: Mapping[str, list[Mapping[str, Any]]], attribute: str
) -> dict[str, Claims]:
    """Without the names that claim themselves and have a bearer above a bearer of another such name."""
    above: dict[tuple[str, str], set[str]] = {}
    for name in (name for name, claims in meanings.items() if attribute in claims):
        for taxon in bearers[name]:
            for step in rank_values(taxon).items() - {(taxon["rank"], taxon["value"])}:
                above.setdefault(step, set()).add(name)
    nested = {
        name
        for name, claims in meanings.items()
        if attribute in claims
        and any(above.get((taxon["rank"], taxon["value"]), set()) - {name} for taxon in bearers[name])
    }
    return {name: claims for name, claims in meanings.items() if name not in nested}


def labels(rows: Iterable[Observation]) -> list[dict[str, Any]]:
    """Taxon facts of the distinct labels of animals among observations; what says nothing of a taxon is left out."""
    distinct = dict.fromkeys(tuple(row[column] for column in LABEL) for row in rows if row["type"] == "animal")
    return [fact for label in distinct if (fact := taxon_fact([dict(zip(LABEL, label, strict=True))]))]


def vernacular(taxon: Mapping[str, Any], code: str) -> str | None:
    """The name that the archive gives a taxon in a language; None where that is the scientific name once more
    ("Cracidae Family"), or the language's word for any animal."""
    name = re.sub(r"(?<=\S)\s+spp?\.?$", "", " ".join((taxon["names"].get(code) or "").split()))
    lower = name.lower()
    bare = re.sub(r" (species|genus|subfamily|family|order|class)$", "", lower)
    scientific = {word.lower() for word in (taxon["value"], *taxon["lineage"].values()) if word}
    again = bare in scientific and (" " in lower)  # one word may be both: the gorilla is a Gorilla
    return None if again or lower in ("", language(code).words["animal"].lower()) else name
