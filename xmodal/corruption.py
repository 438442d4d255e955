"""Word corruption: texts vary in training, word by word, as USER's released loader varies them.

Each word is chosen with probability 0.2 on its own. Of the chosen ones half become [MASK], piece by piece, a tenth
random pieces, one for each of theirs, and the other 40 % are deleted (zhangy0822/USER lib/datasets/image_caption.py; a
comment there says that they are kept, its code removes them). [CLS] and [SEP] stay, so a text may become [CLS] [SEP].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator

from xmodal.settings import Settings, SettingsError
from xmodal.transforms import draw
from xmodal.wordpiece import MASK, SPECIAL


class WordCorruption(Settings):
    """How often words are corrupted, and to what; the rest of the chosen words is deleted."""

    share: float = Field(default=0.2, gt=0, le=1)
    """Probability that a word is chosen."""
    mask: float = Field(default=0.5, ge=0, le=1)
    """Share of the chosen words of which every piece becomes [MASK]."""
    random: float = Field(default=0.1, ge=0, le=1)
    """Share of the chosen words of which every piece becomes a random one."""

    @model_validator(mode="after")
    def _at_most_all(self) -> "WordCorruption":
        if self.mask + self.random > 1 + 1e-9:
            raise ValueError(f"mask {self.mask:g} and random {self.random:g} are shares of the same words: at most 1")
        return self


@dataclass(frozen=True)
class Pieces:
    """What corruption has to know of a vocabulary of V pieces."""

    continues: np.ndarray
    """(V,) bool, True where a piece continues a word."""
    special: np.ndarray
    """(V,) bool, True at pieces that stand for no text: they stay, and none is drawn."""
    mask: int
    """Id of the piece that hides another."""

    @classmethod
    def of(cls, tokens: Sequence[str]) -> "Pieces":
        """Those of a WordPiece vocabulary, by id: ## marks a continuing piece, SPECIAL stand for no text. Raises
        SettingsError where the names are not so."""
        continues = np.array([token.startswith("##") for token in tokens])
        if SPECIAL[MASK] not in tokens or not continues.any():
            raise SettingsError(
                "train.words: words of the text encoder's vocabulary cannot be told (no WordPiece with ## and [MASK]); "
                "take null"
            )
        special = np.array([token in SPECIAL for token in tokens])
        return cls(continues, special, list(tokens).index(SPECIAL[MASK]))


@dataclass(frozen=True)
class Corruption:
    """Texts as (seed, sample, epoch) change them: the same at every world size and after a resume."""

    settings: WordCorruption
    pieces: Pieces
    seed: int

    def __call__(self, ids: np.ndarray, sample: str, epoch: int) -> np.ndarray:
        """(n,) int64 ids of a text, special ones included -> (m,) ids, m <= n."""
        generator = draw(self.seed, "words", sample, epoch)
        chances, pieces = generator.random(len(ids)), generator.random(len(ids))
        words = self._words(ids)
        chance = chances[np.maximum(words, 0)] / self.settings.share  # below 1 where the word is chosen
        chosen = (words >= 0) & (chance < 1)
        masked = chosen & (chance < self.settings.mask)
        drawn = chosen & ~masked & (chance < self.settings.mask + self.settings.random)
        ordinary = np.flatnonzero(~self.pieces.special)
        changed = np.where(masked, self.pieces.mask, ids)
        changed = np.where(drawn, ordinary[(pieces * len(ordinary)).astype(np.int64)], changed)
        return changed[~chosen | masked | drawn]

    def _words(self, ids: np.ndarray) -> np.ndarray:
        """Which word each piece belongs to, counted from 0; -1 for special pieces."""
        special = self.pieces.special[ids]
        starts = ~special & ~(self.pieces.continues[ids] & ~np.concatenate([[True], special[:-1]]))
        return np.where(special, -1, np.cumsum(starts) - 1)
