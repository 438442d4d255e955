"""Which word or animal each text token of a caption is part of, for models whose attention is constrained."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.prepare.language import available, language
from xmodal.encoders import TextEncoderSettings
from xmodal.wordpiece import WordPiece
from xmodal.words import NONE, WordTable, name_words


@dataclass(frozen=True)
class NoWords:
    """Of a model without a cross-attention host: nothing is computed, and a Batch tells tokens apart by itself."""

    columns: tuple[str, ...] = ()

    def of(self, records: list[dict[str, Any]], captions: list[list[str]]) -> list[list[bytes]]:
        return [[b"\0"] * len(texts) for texts in captions]

    def tensor(self, rows: np.ndarray, length: int) -> Tensor:
        return torch.empty(0)

    @property
    def bytes(self) -> int:
        """Of one caption."""
        return 1


@dataclass(frozen=True)
class CaptionWords:
    """int64 word ids (L,) of the text encoder's tokens; the animal is the record's own taxon by its names."""

    encoder: TextEncoderSettings
    wordpiece: str
    length: int
    columns: tuple[str, ...] = ("facts",)

    def of(self, records: list[dict[str, Any]], captions: list[list[str]]) -> list[list[bytes]]:
        """Bytes of every caption of a row group; -1 at padding."""
        own = WordPiece.from_json(self.wordpiece)
        tokenizer, table = self.encoder.build_tokenizer(own), _table(self.encoder.pieces(own))
        ids, mask = tokenizer([text for texts in captions for text in texts])
        rows = iter([row[:count] for row, count in zip(ids.tolist(), mask.sum(1).tolist(), strict=True)])
        names = [name_words(_written(record)) for record in records]
        return [
            [self._packed(table.words(next(rows), own)) for _ in texts]
            for own, texts in zip(names, captions, strict=True)
        ]

    def _packed(self, words: list[int]) -> bytes:
        padded = np.full(self.length, NONE, np.int64)
        padded[: len(words)] = words[: self.length]
        return padded.tobytes()

    def tensor(self, rows: np.ndarray, length: int) -> Tensor:
        """(B, length) of (B, 8 L) bytes."""
        return torch.from_numpy(rows.view(np.int64)[:, :length])

    @property
    def bytes(self) -> int:
        """Of one caption."""
        return 8 * self.length


def _written(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The scientific names of the taxon and of those above it, and its names in all languages, each in the forms that
    texts have it in."""
    taxon = json.loads(record["facts"] or b"{}").get("taxon") or {}
    yield from ((name, name) for name in [taxon.get("value"), *taxon.get("lineage", {}).values()] if name)
    for code, name in taxon.get("names", {}).items():
        forms = language(code).grammar.forms(name) if code in available() else (name,)
        yield from ((form, name) for form in forms)


_tables: dict[int, WordTable] = {}


def _table(pieces: Sequence[str]) -> WordTable:
    """The table of a vocabulary, made once a process."""
    key = hash(tuple(pieces))
    if key not in _tables:
        _tables[key] = WordTable(pieces)
    return _tables[key]
