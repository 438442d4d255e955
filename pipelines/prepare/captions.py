"""Captions from facts: versioned surface forms in several languages, each with the attribute values it claims.

A text claims only what the record states, so it is true of its own image and of every image whose codes entail it. Some
forms are ambiguous on purpose (a higher rank, a name that several taxa share, attributes only, another language): one
fact has many texts and one text many images. What a name claims is computed from all labels of the dataset (`lexicon`).

A record keeps a list of texts, drawn by (captions.seed, sample); a training epoch takes one of them, drawn by
(train.seed, epoch, sample): both draws depend on nothing else, so a resumed run reads the texts it would have read.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.prepare.attributes import Claims, Coder, rank_values
from pipelines.prepare.digests import share
from pipelines.prepare.english import Kind
from pipelines.prepare.language import Language, language
from pipelines.prepare.lexicon import Lexicon, vernacular

Facts = Mapping[str, Mapping[str, Any]]
HIGHER = ("family", "order", "class", "genus")
"""Ranks that name a subject, the one preferred first."""
ATTRIBUTES = {
    "count": "count_group",
    "stage": "life_stage",
    "sex": "sex",
    "behavior": "behavior",
    "light": "daylight",
    "infrared": "infrared",
}
"""What a text can say beside the name, and the attribute that it then claims."""


@dataclass(frozen=True)
class Noun:
    """What a subject is called."""

    text: str
    claims: Claims
    source: str
    """archive (a vernacular name of its own) | scientific | templates (our noun for a higher taxon, or any animal)."""
    kind: Kind = "common"


@dataclass(frozen=True)
class Text:
    """A caption before it is coded; `name_source` is null where it names no subject."""

    text: str
    claims: Claims
    name_source: str | None


@dataclass(frozen=True)
class Shown:
    """What is known of an image when its texts are written."""

    facts: Facts
    recorded: Claims
    """The attribute values it is recorded with: no text claims more."""
    sample: str
    seed: int
    says: Collection[str] = tuple(ATTRIBUTES)
    """What texts may say beside the name (`CaptionSettings.says`)."""
    lexicon: Lexicon = field(default_factory=Lexicon)


def captions(shown: Shown, languages: Sequence[str], coder: Coder) -> list[dict[str, Any]]:
    """The texts of an image as records keep them: [{"text", "language", "name_source", "codes"}], language by language;
    empty where nothing is labelled."""
    return [
        {"text": one.text, "language": code, "name_source": one.name_source, "codes": coder.codes(one.claims)}
        for code in languages
        for one in texts(shown, language(code))
    ]


def own_captions(texts: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """A captioned set's own texts, given with their languages; what they claim is not known."""
    distinct = dict.fromkeys(texts)
    return [{"text": " ".join(text.split()), "language": code, "codes": None} for text, code in distinct]


def class_texts(taxon: Mapping[str, Any], code: str = "eng") -> list[str]:
    """Texts that name a taxon (a taxon fact) in a language, for zero-shot classification: every frame around its best
    name, then the canonical frame around its scientific name."""
    best, *others = _subjects(taxon, code)
    frames = language(code).words["frames"]
    texts = [frame.format(subject=best) for frame in frames]
    return list(dict.fromkeys(texts + [frames[0].format(subject=other) for other in others[:1]]))


def held_out_texts(taxon: Mapping[str, Any], code: str = "eng") -> list[str]:
    """The taxon by its best name in wordings that no text of an image has."""
    best = _subjects(taxon, code)[0]
    return [frame.format(subject=best) for frame in language(code).words["held_out"]]


def _subjects(taxon: Mapping[str, Any], code: str) -> list[str]:
    """What a taxon that has a name is called, the best first."""
    tongue = language(code)
    found = (common_noun(taxon, tongue), scientific_noun(taxon, tongue), higher_noun(taxon, tongue))
    return [tongue.grammar.subject(noun.text, noun.kind, {}) for noun in found if noun]


def species_prompts(name: str, common_name: str | None = None, code: str = "eng") -> list[str]:
    """`class_texts` of a species given by its scientific name and, where known, its name in the language."""
    names = {code: common_name} if common_name else {}
    return class_texts({"value": name, "rank": "species", "lineage": {}, "names": names}, code)


def texts(shown: Shown, tongue: Language) -> list[Text]:
    """The distinct texts of an image in one language, the canonical one first."""
    distinct: dict[str, Text] = {}
    for one in _texts(shown, tongue):
        distinct.setdefault(one.text, one)
    return list(distinct.values())


def _texts(shown: Shown, tongue: Language) -> Iterator[Text]:
    kind = shown.facts["type"]["value"] if "type" in shown.facts else None
    words = tongue.words
    if kind == "blank":
        forms = words["blank"]
        drawn = int(share(shown.seed, "blank", shown.sample) * len(forms))
        yield from (Text(text, {"type": "blank"}, None) for text in (forms[0], forms[drawn]))
    elif kind in ("human", "vehicle"):
        noun = tongue.grammar.subject(words[kind], "common", {})
        yield Text(words["frames"][0].format(subject=noun), _recorded({"type": kind}, shown), "templates")
    elif kind == "animal":
        yield from _animal_texts(shown, tongue)


def _animal_texts(shown: Shown, tongue: Language) -> Iterator[Text]:
    nouns = animal_nouns(shown, tongue)
    frames = tongue.words["frames"]
    for number, form in enumerate(tongue.words["texts"]):
        noun = nouns.get(form["name"])
        if noun is None:
            continue
        said = _said(shown, tongue, noun, form["says"])
        claims = _recorded({"type": "animal"}, shown) | noun.claims
        claims |= {ATTRIBUTES[part]: value for part, value in said.items()}
        drawn = int(share(shown.seed, "frame", shown.sample, str(number)) * len(frames))
        frame = frames[drawn if form["frame"] == "drawn" else 0]
        yield Text(frame.format(subject=tongue.grammar.subject(noun.text, noun.kind, said)), claims, noun.source)


def _recorded(claims: Claims, shown: Shown) -> Claims:
    """Those of the claims that the image is recorded with: a frame of an animal and a person has no type to claim."""
    return {name: value for name, value in claims.items() if shown.recorded.get(name) == value}


def _said(shown: Shown, tongue: Language, noun: Noun, parts: Collection[str]) -> Claims:
    """Part to recorded value, of what a form says, may say, and has words for."""
    values = {part: shown.recorded.get(ATTRIBUTES[part]) for part in parts if part in shown.says}
    if not tongue.grammar.can_count(noun.kind):
        values.pop("count", None)
    return {part: value for part, value in values.items() if value and tongue.can_say(part, value)}


def animal_nouns(shown: Shown, tongue: Language) -> dict[str, Noun]:
    """The names that texts of an image can use: best, common, scientific, higher, animal."""
    animal = Noun(tongue.words["animal"], {}, "templates")
    taxon = shown.facts.get("taxon")
    if taxon is None:
        return {"best": animal}
    claims = shown.lexicon.meaning(taxon, tongue.code)
    # A taxon that bears several shared names is recorded with none of them, and no text can claim one.
    usable = claims is not None and claims.items() <= shown.recorded.items()
    common = common_noun(taxon, tongue, claims) if usable else None
    found = {"common": common, "scientific": scientific_noun(taxon, tongue), "higher": higher_noun(taxon, tongue)}
    nouns = {name: noun for name, noun in found.items() if noun is not None}
    best = next(iter(nouns.values()), animal)
    return {**nouns, "best": best, "animal": animal}


def common_noun(taxon: Mapping[str, Any], tongue: Language, claims: Claims | None = None) -> Noun | None:
    """The name that the archive states in this language; `claims` is what it stands for in the dataset."""
    written = vernacular(taxon, tongue.code)
    if written is None:
        return None
    of_group = taxon["rank"] not in ("species", "subspecies")
    kind = tongue.grammar.kind(written, of_group)
    if kind == "plural" and of_group and taxon["value"]:
        return None  # its scientific name speaks of one animal
    return Noun(tongue.grammar.name(written), claims or {}, "archive", kind)


def scientific_noun(taxon: Mapping[str, Any], tongue: Language) -> Noun | None:
    """A species or genus by its scientific name."""
    settled = rank_values(taxon)
    if taxon["rank"] == "genus" and "genus" in settled:
        return Noun(tongue.group("genus", settled["genus"]), {"genus": settled["genus"]}, "scientific")
    if "species" in settled:
        return Noun(settled["species"], {"species": settled["species"]}, "scientific", kind="scientific")
    return None


def higher_noun(taxon: Mapping[str, Any], tongue: Language) -> Noun | None:
    """The lowest of family, order and class that the record states; a species' genus where it states none."""
    settled = rank_values(taxon)
    rank = next((rank for rank in HIGHER if rank in settled), None)
    if rank is None:
        return None
    text = tongue.group(rank, settled[rank])
    ours = settled[rank] not in text
    return Noun(text, {rank: settled[rank]}, "templates" if ours else "scientific")
