"""Vocabularies of a version: attribute values, and the WordPiece pieces of the train split's captions."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.storage import Store
from pipelines.prepare.attributes import Vocabulary, extend, values
from pipelines.prepare.columns import MANY
from pipelines.prepare.facts import animal_facts
from pipelines.prepare.lexicon import Lexicon, lexicon
from pipelines.prepare.parts import RECORDS, entry_of, read_columns
from pipelines.sources.schema import Survey
from xmodal.wordpiece import WordPiece

LABEL_COLUMNS = ["taxon", "rank", "lineage", "names", "life_stage", "sex", "behavior"]


def attributes(
    parent: Vocabulary, surveys: list[Survey], languages: Sequence[str] = ("eng",)
) -> tuple[Vocabulary, Lexicon]:
    """The parent's vocabulary with what the surveys' labels add, and what names stand for in these labels."""
    labels = [label for survey in surveys for label in _labels(survey.observations)]
    names = lexicon((label["taxon"] for label in labels if "taxon" in label), languages)
    found = [values(label | {"infrared": {"value": False}}) for label in labels]
    return extend(parent, [*found, *names.values()]), names


def _labels(observations: pa.Table) -> Iterator[dict[str, Any]]:
    """Facts of every distinct label."""
    some = [_distinct(batch) for batch in observations.select(["type", *LABEL_COLUMNS]).to_batches(MANY)]
    whole = pa.concat_tables([observations.schema.empty_table().select(LABEL_COLUMNS), *some])
    for row in whole.group_by(LABEL_COLUMNS).aggregate([]).to_pylist():
        row |= {"level": "event", "count": None, "origin": "", "method": None}
        yield animal_facts([row])


def _distinct(observations: pa.RecordBatch) -> pa.Table:
    animals = pa.Table.from_batches([observations]).filter(pc.field("type") == "animal")
    return animals.select(LABEL_COLUMNS).group_by(LABEL_COLUMNS).aggregate([])


def stored(home: Store, kind: str, document: str, parent: list[dict[str, Any]]) -> dict[str, Any]:
    """Entry of a vocabulary, which is written where the parent does not name it."""
    data = document.encode()
    entry = {"kind": kind} | entry_of(f"vocabulary/{kind}", "json", data)
    if entry not in parent:
        home.put(entry["path"], data)
    return entry


def attributes_json(vocabulary: Vocabulary) -> str:
    return json.dumps({"attributes": vocabulary}, ensure_ascii=False)


def train_wordpiece(home: Store, records: list[dict[str, Any]], size: int) -> str:
    """The WordPiece vocabulary of the train split's captions, as JSON."""
    return WordPiece.train(_train_texts(home, records), size).to_json()


def grow_wordpiece(document: str, home: Store, records: list[dict[str, Any]]) -> str:
    """The vocabulary `document` with the characters appended that it lacks for the train split's captions."""
    return WordPiece.from_json(document).grown(_train_texts(home, records)).to_json()


def _train_texts(home: Store, records: list[dict[str, Any]]) -> Iterator[str]:
    for part in records:
        table = read_columns(home, part["path"], ["split", "captions"], RECORDS)
        for captions in table.filter(pc.field("split") == "train")["captions"].to_pylist():
            yield from (one["text"] for one in json.loads(captions))
