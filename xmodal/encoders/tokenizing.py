"""Tokenisers of pretrained text encoders: the one that a model brings, or the dataset's vocabulary."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from xmodal.encoders import hub
from xmodal.settings import SettingsError
from xmodal.wordpiece import WordPiece


class HubTokenizer:
    """The tokeniser in a folder or hub id. Raises SettingsError where there is none."""

    def __init__(self, source: str, length: int):
        self.source, self.length = source, length
        self.tokenizer = hub.read_tokenizer(source)
        self.pad = _pad(source, self.tokenizer)

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(N, L) int64 ids and (N, L) bool mask, padded to the longest, truncated at `length`.

        A longer text loses its end and keeps the end token, where the tokeniser writes one. A text of which nothing is
        left (an empty one, of a tokeniser without special tokens) is one padding token that counts.
        """
        if not texts:
            return torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, 2, dtype=torch.bool)
        rows = self.tokenizer(list(texts), truncation=True, max_length=self.length)["input_ids"]
        lengths = torch.tensor([max(1, len(row)) for row in rows])
        longest = int(lengths.max())
        ids = torch.tensor([[*row, *[self.pad] * (longest - len(row))] for row in rows], dtype=torch.int64)
        return ids, torch.arange(longest) < lengths[:, None]

    @property
    def pieces(self) -> tuple[str, ...]:
        """Its vocabulary, by id."""
        return tuple(self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer))))

    def identity(self) -> str:
        """A digest of the vocabulary."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return hashlib.sha256(repr(vocabulary).encode()).hexdigest()


def _pad(source: str, tokenizer: Any) -> int:
    """Id that fills a row; a tokeniser without a padding token fills with its end token (the mask leaves it out)."""
    for one in (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id):
        if one is not None:
            return one
    raise SettingsError(f"path: the tokeniser of {source!r} has no padding token, end token or unknown token")


class OwnTokenizer:
    """The dataset's WordPiece vocabulary."""

    def __init__(self, wordpiece: WordPiece, length: int):
        self.wordpiece, self.length = wordpiece, length

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(N, L) int64 ids and (N, L) bool mask."""
        return self.wordpiece.encode(texts, self.length)

    @property
    def pieces(self) -> tuple[str, ...]:
        """Its vocabulary, by id."""
        return self.wordpiece.tokens

    def identity(self) -> str:
        """A digest of the vocabulary."""
        return hashlib.sha256(self.wordpiece.to_json().encode()).hexdigest()
