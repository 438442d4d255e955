"""The species that records name.

A species goes by its scientific name. An archive that has common names alone ("red fox") has species all the same: its
own name for the animal stands for the species there, and nothing is known of genus and family.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.prepare.attributes import rank_values
from pipelines.prepare.captions import class_texts, held_out_texts
from pipelines.prepare.facts import lineage
from pipelines.prepare.language import available
from pipelines.prepare.lexicon import vernacular
from pipelines.prepare.settings import CaptionSettings
from xmodal.settings import parse

Facts = dict[str, Any]


def species_key(taxon: Facts | None) -> str | None:
    """What stands for the species of a taxon fact: its scientific name, of a subspecies that of its species; where no
    scientific name is known, the archive's own name. None for a higher taxon."""
    if taxon is None:
        return None
    if taxon["value"] is not None:
        return rank_values(taxon).get("species")
    code = _own_language(taxon)
    return vernacular(taxon, code) if code else None


def _own_language(taxon: Facts) -> str | None:
    """The language of the archive's own name: English before others that texts are written in."""
    return next((code for code in ("eng", *available()) if vernacular(taxon, code)), None)


def asked_in(recipe: Mapping[str, Any]) -> str:
    """The language that a model is asked in, by its checkpoint's recipe: of those that its texts were written in
    English, else the first."""
    languages = parse(CaptionSettings, recipe["data"].get("captions", {})).languages
    return "eng" if "eng" in languages else languages[0]


def species_texts(taxon: Facts, code: str) -> list[str]:
    """`class_texts` of a taxon that has a species key, in that language; in the archive's own where it has neither a
    scientific name nor one in that language."""
    return class_texts(taxon, _language(taxon, code))


def unheard_texts(taxon: Facts, code: str) -> list[str]:
    """`held_out_texts` of such a taxon, in the same language."""
    return held_out_texts(taxon, _language(taxon, code))


def _language(taxon: Facts, code: str) -> str:
    named = taxon["value"] is not None or vernacular(taxon, code)
    return code if named else _own_language(taxon) or code


def species_keys(documents: Sequence[str | bytes]) -> list[str | None]:
    """The species key of each `facts` document."""
    known = {document: species_key(json.loads(document).get("taxon")) for document in set(documents)}
    return [known[document] for document in documents]


def species_facts(documents: Sequence[str | bytes]) -> dict[str, Facts]:
    """Species key to taxon fact, of `facts` documents; taxa above the species are left out."""
    return species_taxa(json.loads(document) for document in dict.fromkeys(documents))


def species_taxa(facts: Iterable[Facts]) -> dict[str, Facts]:
    """The same of `facts` read before. A species' own fact goes before one of its subspecies."""
    taxa = [one["taxon"] for one in facts if one.get("taxon")]
    found: dict[str, Facts] = {}
    for taxon in sorted(taxa, key=lambda one: one["rank"] not in ("species", None)):
        if (key := species_key(taxon)) is not None:
            found.setdefault(key, _as_species(key, taxon))
    return found


def _as_species(key: str, taxon: Facts) -> Facts:
    """The fact of a subspecies as one of its species; any other as it is."""
    if taxon["value"] in (key, None):
        return taxon
    higher = {rank: name for rank, name in taxon["lineage"].items() if rank != "species"}
    return {**taxon, "value": key, "rank": "species", "lineage": higher}


def species_shown(facts: Facts) -> set[str]:
    """Every species that a frame is recorded to show: one of several in the frame too."""
    several = [lineage({**one, "lineage": None}).get("species") for one in facts.get("taxa", {}).get("value", [])]
    return {key for key in (species_key(facts.get("taxon")), *several) if key is not None}


def class_of(facts: Facts) -> str:
    """What a frame shows, as one word: its species, else its taxon, else its kind (blank, human, ...); "" where nothing
    is recorded."""
    taxon = facts.get("taxon")
    return species_key(taxon) or (taxon or {}).get("value") or facts.get("type", {}).get("value", "")
