"""BiGRU text encoder, trained from scratch: the one of SCAN, of VSE-infinity and of USER's region models.

Word vectors, one bidirectional GRU layer, and the mean of the two directions as the vector of each piece
(kuanghuei/SCAN model.py, `EncoderText`). The pieces are those of the dataset's WordPiece vocabulary; [CLS] and [SEP]
stand where those codes put <start> and <end>, and count as words there too.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from xmodal.encoders.identity import settings_identity
from xmodal.encoders.transformer import Tokenizer
from xmodal.settings import Settings
from xmodal.wordpiece import WordPiece


class BiGRU(Settings):
    """A bidirectional GRU trained from scratch."""

    kind: Literal["bigru"]
    length: int = Field(default=64, ge=2)
    """Most pieces of a text, [CLS] and [SEP] included; a longer text loses its end."""
    word_dim: int = Field(default=300, ge=1)
    """Width of a piece's vector before the GRU."""
    width: int = Field(default=1024, ge=1)
    """Width of its tokens (W), that of each direction's state."""

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

    def build(self, wordpiece: WordPiece) -> "BiGRUEncoder":
        return BiGRUEncoder(self, wordpiece)


class BiGRUEncoder(nn.Module):
    """Token ids (B, L) and their mask to (B, L, width)."""

    def __init__(self, settings: BiGRU, wordpiece: WordPiece):
        super().__init__()
        self.settings, self.width, self.wordpiece = settings, settings.width, wordpiece
        self.word = nn.Embedding(len(wordpiece), settings.word_dim)
        self.gru = nn.GRU(settings.word_dim, settings.width, batch_first=True, bidirectional=True)
        nn.init.uniform_(self.word.weight, -0.1, 0.1)

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
        """(B, L) int64 ids, (B, L) bool mask, real pieces first -> (B, L, width), 0 at masked places."""
        spare = ids.new_zeros(int(len(ids) == 0), ids.shape[1])  # a rank without rows keeps the weights in its graph
        lengths = torch.cat([mask.sum(1), spare.new_ones(len(spare))]).clamp(min=1).cpu()
        words = self.word(torch.cat([ids, spare]))
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=ids.shape[1])
        return states[: len(ids)].unflatten(2, (2, -1)).mean(2) * mask[..., None]
