"""The toy's images and captions: 64 species, a few of them common, and one caption for all images of a species.

Everything is a function of (seed, step or set, row). Images are a pattern of the species under noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xmodal.batch import Batch
from xmodal.wordpiece import CLS, SEP, WordPiece

SPECIES, SIDE, BATCH = 64, 16, 64
TAIL = 0.8
"""Exponent of the species' frequencies (n-th most frequent: n ** -TAIL)."""
SIGNAL, NOISE = 32.0, 48.0
"""Deviations of pattern and noise, in grey levels."""
WORDS = 5


def wordpiece() -> WordPiece:
    """One piece a species."""
    return WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"species{n}" for n in range(SPECIES))])


def shares() -> Tensor:
    """(SPECIES,) how frequent each is."""
    weights = torch.arange(1, SPECIES + 1).double() ** -TAIL
    return weights / weights.sum()


def simpson() -> float:
    """Sum of squared shares: with K rows in a queue a query meets K times as many false negatives."""
    return float(shares().square().sum())


@dataclass(frozen=True)
class Toy:
    """Draws of one seed."""

    seed: int

    def _generator(self, *keys: int) -> torch.Generator:
        number = self.seed
        for key in keys:
            number = (1_000_003 * number + key) % 2**62
        return torch.Generator().manual_seed(number)

    def patterns(self) -> Tensor:
        """(SPECIES, 3, SIDE, SIDE)."""
        return torch.randn(SPECIES, 3, SIDE, SIDE, generator=self._generator(1))

    def images(self, species: Tensor, generator: torch.Generator) -> Tensor:
        """(B, 3, SIDE, SIDE) uint8."""
        noise = torch.randn(len(species), 3, SIDE, SIDE, generator=generator)
        return (127.5 + SIGNAL * self.patterns()[species] + NOISE * noise).clamp(0, 255).to(torch.uint8)

    def batch(self, step: int) -> Batch:
        """The training batch of a step: BATCH new images."""
        generator = self._generator(2, step)
        species = torch.multinomial(shares(), BATCH, replacement=True, generator=generator)
        return self._batch(species, self.images(species, generator), step)

    def held_out(self, rows: int) -> Batch:
        """Images that no step shows, species equally often."""
        species = torch.arange(rows) % SPECIES
        return self._batch(species, self.images(species, self._generator(3)), 0)

    def captions(self) -> Batch:
        """One row a species; only its text is meant."""
        species = torch.arange(SPECIES)
        return self._batch(species, torch.zeros(SPECIES, 3, SIDE, SIDE, dtype=torch.uint8), 0)

    @staticmethod
    def _batch(species: Tensor, image: Tensor, step: int) -> Batch:
        rows = len(species)
        text = torch.stack([torch.full_like(species, CLS), species + WORDS, torch.full_like(species, SEP)], dim=1)
        return Batch(
            image=image,
            text=text,
            text_mask=torch.ones_like(text, dtype=torch.bool),
            caption=text,
            sample_id=torch.arange(rows) + step * rows,
            caption_id=species,
            sequence_id=torch.full((rows,), -1),
            image_codes=species[:, None].to(torch.int32),
            text_codes=species[:, None].to(torch.int32),
            valid=torch.ones(rows, dtype=torch.bool),
            slot=torch.arange(rows),
            step=step,
        )
