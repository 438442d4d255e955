"""Captions from facts: versioned English surface forms, each with the attribute values it claims.

A text claims only what the record states, so it is true of its own image and of every image whose codes entail it. Some
forms are ambiguous on purpose (a higher rank, attributes only): one fact has many texts and one text many images.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from pipelines.prepare.attributes import Coder, taxon_values, values
from pipelines.prepare.digests import share
from pipelines.prepare.english import English

Facts = Mapping[str, Mapping[str, Any]]
Claims = dict[str, str]
RANKS = ("family", "order", "class", "genus")
SAYS = ("count", "stage", "sex", "behavior", "light", "infrared")


@dataclass(frozen=True)
class Noun:
    """What a subject is called; `countable` nouns take articles and plurals, scientific names neither."""

    text: str
    claims: Claims
    countable: bool = True


@cache
def templates() -> dict[str, Any]:
    """The surface forms, as the YAML file beside this module says."""
    return YAML(typ="safe").load((files("pipelines.prepare") / "english.yaml").read_text("utf-8"))


@cache
def english() -> English:
    return English(templates())


def version() -> str:
    """Name and version of the surface forms, for the version document."""
    return f"english-{templates()['version']}"


def captions(facts: Facts, sample: str, seed: int, coder: Coder, says: Collection[str] = SAYS) -> list[dict[str, Any]]:
    """The texts of a sample as records keep them: [{"text", "language", "codes"}]; empty where nothing is labelled.

    `says` is what they may say beside the name (`CaptionSettings.says`).
    """
    language = templates()["language"]
    texts: dict[str, Claims] = {}
    for text, claims in _texts(facts, sample, seed, says):
        texts.setdefault(text, claims)
    return [{"text": text, "language": language, "codes": coder.codes(claims)} for text, claims in texts.items()]


def own_captions(texts: list[str]) -> list[dict[str, Any]]:
    """A captioned set's own texts; what they claim is not known."""
    return [{"text": " ".join(text.split()), "language": "eng", "codes": None} for text in dict.fromkeys(texts)]


def class_texts(taxon: Mapping[str, Any]) -> list[str]:
    """Texts that name a taxon (a taxon fact), for zero-shot classification: every frame around its best name, then the
    canonical frame around its scientific name."""
    frames = templates()["frames"]
    nouns = [noun for noun in (common_noun(taxon), scientific_noun(taxon), higher_noun(taxon)) if noun]
    texts = [frame.format(subject=_phrase(nouns[0], "", "")) for frame in frames]
    return list(dict.fromkeys(texts + [frames[0].format(subject=_phrase(noun, "", "")) for noun in nouns[1:2]]))


def species_prompts(name: str, common_name: str | None = None) -> list[str]:
    """`class_texts` of a species given by its scientific name and, where known, its English one."""
    names = {"eng": common_name} if common_name else {}
    return class_texts({"value": name, "rank": "species", "lineage": {}, "names": names})


def _texts(facts: Facts, sample: str, seed: int, says: Collection[str] = SAYS) -> Iterator[tuple[str, Claims]]:
    kind = facts["type"]["value"] if "type" in facts else None
    if kind == "blank":
        forms = templates()["blank"]
        drawn = int(share(seed, "blank", sample) * len(forms))
        yield from ((text, {"type": "blank"}) for text in dict.fromkeys((forms[0], forms[drawn])))
    elif kind in ("human", "vehicle"):
        noun = Noun(templates()[kind], {"type": kind})
        yield templates()["frames"][0].format(subject=_phrase(noun, "", "")), noun.claims
    elif kind == "animal":
        yield from _animal_texts(facts, sample, seed, says)


def _animal_texts(facts: Facts, sample: str, seed: int, says: Collection[str]) -> Iterator[tuple[str, Claims]]:
    known = values(facts)
    nouns = animal_nouns(facts.get("taxon"))
    frames = templates()["frames"]
    for number, form in enumerate(templates()["texts"]):
        noun = nouns.get(form["name"])
        if noun is None:
            continue
        subject, claims = _subject(noun, known, [part for part in form["says"] if part in says])
        drawn = int(share(seed, "frame", sample, str(number)) * len(frames))
        yield frames[drawn if form["frame"] == "drawn" else 0].format(subject=subject), claims


def animal_nouns(taxon: Mapping[str, Any] | None) -> dict[str, Noun]:
    """The names a text can use: best, scientific, higher, animal."""
    animal = Noun("animal", {"type": "animal"})
    if taxon is None:
        return {"best": animal}
    found = {"common": common_noun(taxon), "scientific": scientific_noun(taxon), "higher": higher_noun(taxon)}
    nouns = {name: noun for name, noun in found.items() if noun is not None}
    best = next(iter(nouns.values()), animal)
    return {**nouns, "best": best, "animal": animal}


def common_noun(taxon: Mapping[str, Any]) -> Noun | None:
    """The archive's English name. It may be shared by several species: it claims itself and no more."""
    name = taxon["names"].get("eng")
    if not name:
        return None
    return Noun(name if name != name.title() else name.lower(), {"common_name": name.lower()})


def scientific_noun(taxon: Mapping[str, Any]) -> Noun | None:
    """A species or genus by its scientific name."""
    settled = taxon_values(taxon)
    if taxon["rank"] == "genus" and "genus" in settled:
        return Noun(f"animal of the genus {settled['genus']}", {"genus": settled["genus"]})
    if "species" in settled:
        return Noun(settled["species"], {"species": settled["species"]}, countable=False)
    return None


def higher_noun(taxon: Mapping[str, Any]) -> Noun | None:
    """The lowest of family, order and class that the record states; a species' genus where it states none."""
    settled = taxon_values(taxon)
    for rank in RANKS:
        if rank in settled:
            word = templates()["higher"].get(rank, {}).get(settled[rank])
            return Noun(word or f"animal of the {rank} {settled[rank]}", {rank: settled[rank]})
    return None


def _subject(noun: Noun, known: Mapping[str, str], says: list[str]) -> tuple[str, Claims]:
    """A noun phrase with what `says` names and the record states, and all that it claims, an animal first of all."""
    words = templates()
    adjectives = {"stage": "life_stage", "sex": "sex"}
    claims = {"type": "animal", **noun.claims}
    stated = [adjectives[part] for part in says if part in adjectives and adjectives[part] in known]
    before = " ".join(known[name] for name in stated)
    claims |= {name: known[name] for name in stated}
    after = []
    if "behavior" in says and "behavior" in known:
        after.append(known["behavior"] if known["behavior"].endswith("ing") else f"showing {known['behavior']}")
        claims["behavior"] = known["behavior"]
    for part, name in (("light", "daylight"), ("infrared", "infrared")):
        if part in says and known.get(name) in words[part]:
            after.append(words[part][known[name]])
            claims[name] = known[name]
    count = known.get("count_group") if "count" in says and noun.countable else None
    claims |= {"count_group": count} if count else {}
    return " ".join([_phrase(noun, words["count"][count] if count else "", before), *after]), claims


def _phrase(noun: Noun, count: str, before: str) -> str:
    """Count, adjectives and noun, in the plural or behind an article."""
    words = [before] if before else []
    if not noun.countable:
        return english().article(" ".join([*words, noun.text])) if before else noun.text
    if count in ("", "single"):
        return english().article(" ".join([word for word in (count, before, noun.text) if word]))
    head, of, rest = noun.text.partition(" of the ")
    return " ".join([count, *words, english().plural(head) + of + rest])
