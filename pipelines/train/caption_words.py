"""Which word or animal each text token of a caption is part of, for models whose attention is constrained."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmodal.encoders import TextEncoderSettings
from xmodal.wordpiece import WordPiece
from xmodal.words import NONE, WordTable, animal_id, name_words


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
        animals = [name_words(_names(record)) for record in records]
        return [
            [self._packed(table.words(next(rows), animal)) for _ in texts]
            for animal, texts in zip(animals, captions, strict=True)
        ]

    def animals(self, records: list[dict[str, Any]]) -> list[int]:
        """The word id of each record's animal, whichever of its names a caption says."""
        return [animal_id(name_words(_names(record))) for record in records]

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


def _names(record: dict[str, Any]) -> list[str]:
    """The taxon's names in all languages, and its scientific name."""
    taxon = json.loads(record["facts"] or b"{}").get("taxon") or {}
    return [name for name in [*taxon.get("names", {}).values(), taxon.get("value")] if name]


_tables: dict[int, WordTable] = {}


def _table(pieces: Sequence[str]) -> WordTable:
    """The table of a vocabulary, made once a process."""
    key = hash(tuple(pieces))
    if key not in _tables:
        _tables[key] = WordTable(pieces)
    return _tables[key]
