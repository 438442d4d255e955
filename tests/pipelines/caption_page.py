"""The sample page `docs/captions.md`: all texts of one record, and what names stand for.

`python -m tests.pipelines.caption_page` writes it anew; a test compares it with what it would be.
"""

from collections.abc import Iterator
from pathlib import Path

from pipelines.demo.species import RED_FOX
from pipelines.prepare.attributes import Claims
from pipelines.prepare.language import available, language, version
from tests.pipelines.labels import frame, label, names_of, observation, recorded, written

PAGE = Path(__file__).parents[2] / "docs/captions.md"
FOX = label(RED_FOX.taxon, "species", RED_FOX.lineage, **RED_FOX.names)
SHARED = [
    FOX,
    label(RED_FOX.taxon, "species", RED_FOX.lineage, eng="silver fox"),
    label("Vulpes lagopus", "species", RED_FOX.lineage, eng="arctic fox", fra="renard polaire", spa="zorro"),
    label("Lycalopex culpaeus", "species", RED_FOX.lineage | {"genus": "Lycalopex"}, eng="culpeo", spa="zorro"),
    label("Leporidae", "family", {"class": "Mammalia"}, eng="rabbit"),
    label("Aves", "class", eng="bird"),
    label(None, None, eng="deer"),
]
"""Labels of an invented dataset, for what names stand for."""


def page() -> str:
    return "\n".join([*_head(), *_facts(), *_texts(), *_names(), ""])


def _head() -> Iterator[str]:
    yield f"""# Captions: what is written of a frame, and what each text is true of

This page is written from the code by `python -m tests.pipelines.caption_page`, and a test compares the two. Versions
of the languages: {version(available())}.

An archive labels frames; `prepare` turns labels into **facts** (each with its source) and facts into **texts**. A
text claims values of attributes, an image is recorded with values, and *the text is true of the image exactly when
every value it claims is recorded*. So a text has all images it is true of as its positives, and is a negative only of
images whose record contradicts it.

**Languages** are a setting (`data.captions.languages`, by default English alone): English, French, Spanish and
Portuguese (Brazilian spelling), which serve most of the Americas and Africa, and German, the fifth language in which
the generated survey names its animals. A language is one file in `pipelines/prepare/languages/`. Outside English no
text holds an article, adjective or verb that would have to agree with a name, since no archive states gender and
plural. Nothing is translated: where the archive has no name in a language, the scientific one stands there. Texts
with all their details are longer outside English: give the captioner room (`model.caption_length`). The vocabulary is
lower-case and without accents, as BERT's is, and so are captions that a model writes.

**Which text, when.** A record stores the texts below; the frames around them were drawn by (`data.captions.seed`,
sample). An epoch takes one of them, drawn by (`train.seed`, epoch, sample) so that each comes once before any comes
again. Nothing else enters: a resumed run, or one on more workers, reads the same texts."""


def _frame() -> tuple[dict, Claims]:
    known = frame(
        observation(FOX, count=2, life_stage="adult", behavior="foraging", origin="camtrap_dp"),
        infrared=True,
        time="2026-05-05 23:10:00",
    )
    return known, recorded(known, names_of([observation(FOX)]))


def _facts() -> Iterator[str]:
    known, own = _frame()
    yield "\n## One record\n\n| fact | value | source |\n|---|---|---|"
    for name, fact in known.items():
        told = [f"{fact['value']} ({fact['rank']})" if "rank" in fact else str(fact["value"])]
        told += [f"{code} {one}" for part in ("names", "lineage") for code, one in fact.get(part, {}).items()]
        yield f"| {name} | {'; '.join(told)} | {fact['source']} |"
    yield f"\nRecorded: {_claims(own)}."


def _texts() -> Iterator[str]:
    known, _ = _frame()
    names = names_of([observation(FOX)])
    for code in available():
        yield f"\n### {code}\n\n| text | name from | true of every image recorded with |\n|---|---|---|"
        for one in written(known, names, code, "sample"):
            yield f"| {one.text} | {one.name_source} | {_claims(one.claims)} |"
        yield f"| *blank:* {' · '.join(language(code).words['blank'])} | | type: blank |"


def _names() -> Iterator[str]:
    yield """
## What names stand for

Names are read in all labels of a dataset. One that belongs to a single species claims the species. One that several
taxa share, or that names no species, claims itself and the ranks on which its bearers agree. A dataset with these
labels:

| label | language | name | a text with the name claims |
|---|---|---|---|"""
    rows = [observation(of) for of in SHARED]
    names = names_of(rows)
    for row, of in zip(rows, SHARED, strict=True):
        taxon = frame(row)["taxon"]
        for code in of["names"]:
            own = f"{of['rank']} {of['taxon']}" if of["taxon"] else "no scientific name"
            yield f"| {own} | {code} | {of['names'][code]} | {_claims(names.meaning(taxon, code) or {})} |"
    yield """
So *zorro* is true of both its species, *silver fox* is true of a frame labelled *red fox* (one species), *rabbit* is
neither true nor false of a hare, and *bird*, which is also our own noun for all Aves, is true of every bird. Two
names that claim themselves exclude each other, as classes of an archive's list do."""


def _claims(claims: Claims) -> str:
    return ", ".join(f"{name}: {value}" for name, value in claims.items())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
