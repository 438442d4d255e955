"""Small built-in text encoder over the dataset's own WordPiece vocabulary, trained from scratch."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.encoders.blocks import Block, check_heads, initialise, key_bias
from xmodal.encoders.identity import settings_identity
from xmodal.settings import Settings
from xmodal.wordpiece import WordPiece

Tokenizer = Callable[[list[str]], tuple[Tensor, Tensor]]
"""Texts to (N, L) int64 ids and (N, L) bool mask, padded to the longest."""


class Transformer(Settings):
    """A text transformer trained from scratch."""

    kind: Literal["transformer"]
    length: int = Field(default=32, ge=2)
    """Most tokens of a text, [CLS] and [SEP] included; a longer text loses its end."""
    width: int = Field(default=128, ge=8)
    """Width of its tokens (D)."""
    depth: int = Field(default=2, ge=0)
    """Number of transformer blocks."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; they divide the width."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after attention and feed-forward. Above 0 a run depends on the number of workers."""

    @model_validator(mode="after")
    def _divides(self) -> "Transformer":
        check_heads(self.width, self.heads)
        return self

    @property
    def frozen(self) -> bool:
        """False: it is trained."""
        return False

    def build_tokenizer(self, wordpiece: WordPiece) -> Tokenizer:
        """Texts to ids and mask without building the encoder."""
        return lambda texts: wordpiece.encode(texts, self.length)

    @property
    def longest(self) -> int:
        """Most tokens of a text."""
        return self.length

    def pieces(self, wordpiece: WordPiece) -> tuple[str, ...]:
        """The vocabulary of `build_tokenizer`, by id."""
        return wordpiece.tokens

    def build(self, wordpiece: WordPiece) -> "TransformerEncoder":
        return TransformerEncoder(self, wordpiece)


class TransformerEncoder(nn.Module):
    """Token ids (B, L) and their mask to (B, L, width)."""

    def __init__(self, settings: Transformer, wordpiece: WordPiece):
        super().__init__()
        self.settings = settings
        self.width = settings.width
        self.wordpiece = wordpiece
        self.token = nn.Embedding(len(wordpiece), settings.width)
        self.position = nn.Embedding(settings.length, settings.width)
        self.blocks = nn.ModuleList(
            Block(settings.width, settings.heads, settings.dropout) for _ in range(settings.depth)
        )
        self.norm = nn.LayerNorm(settings.width)
        self.apply(initialise)

    def identity(self) -> str:
        """16 hex digits of its settings."""
        return settings_identity(self.settings)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(N, L) int64 ids and (N, L) bool mask."""
        return self.wordpiece.encode(texts, self.settings.length)

    def features(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` takes: the ids and the mask themselves."""
        return ids, mask

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids, (B, L) bool mask -> (B, L, width); what stands at masked places changes no other place.

        Raises ValueError for L above the `length` it is built for.
        """
        if ids.shape[1] > self.settings.length:
            raise ValueError(f"length: this encoder takes {self.settings.length} tokens, this text has {ids.shape[1]}")
        x = self.token(ids) + self.position(torch.arange(ids.shape[1], device=ids.device))
        bias = key_bias(mask, x)
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)
