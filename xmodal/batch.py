"""A global batch's local share, as every task and encoder sees it."""

from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B local rows. Row i of every field is one image-text pair.

    A padded row (the last batch of an epoch, split evenly over the workers) has `valid` False: it flows through the
    encoders and counts in no loss, no queue and no metric.
    """

    image: Tensor
    """(B, 3, H, W) uint8 pixels, or (B, R, D) float features where the image encoder is frozen and precomputed."""
    text: Tensor
    """(B, L) int64 token ids of the text encoder, or (B, L, D) float features where that encoder is frozen."""
    text_mask: Tensor
    """(B, L) bool, True at real tokens."""
    caption: Tensor
    """(B, C) int64 WordPiece ids of the dataset's own vocabulary: [CLS] words [SEP], padded with [PAD] = 0."""
    sample_id: Tensor
    """(B,) int64, hash of the sample's id."""
    caption_id: Tensor
    """(B,) int64, hash of the caption's normalised text: equal texts have equal ids."""
    sequence_id: Tensor
    """(B,) int64, hash of the event; -1 where none is known."""
    image_codes: Tensor
    """(B, A) int32 attribute codes of what is recorded of the image, -1 = unspecified."""
    text_codes: Tensor
    """(B, A) int32 attribute codes of what the text claims, -1 = unspecified."""
    valid: Tensor
    """(B,) bool."""
    slot: Tensor
    """(B,) int64, the row's position in the global batch: the same at every world size."""
    step: int
    """Optimizer step (0-based): with the seed and the sample ids it keys every random draw."""
    words: Tensor = field(default_factory=lambda: torch.empty(0))
    """(B, L) int64 word that each text token is part of (`xmodal.words`): equal ids = the same one, from ANIMAL on
    those that name the animal shown, -1 = none that says anything (special tokens, stop words). Absent = every token
    id, or place of a feature, is its own."""
    parts: int = 1
    """Batches of a forward each that make up an optimizer step; this is one of them."""

    def __post_init__(self) -> None:
        if self.words.ndim != 2:
            object.__setattr__(self, "words", self._tokens_as_words())
        rows = {name: len(column) for name, column in self.columns().items()}
        if len(set(rows.values())) != 1:
            raise ValueError(f"a batch's fields must have the same number of rows, these have {rows}")
        if self.valid.dtype != torch.bool or self.text_mask.dtype != torch.bool:
            raise TypeError("Batch.valid and Batch.text_mask must be bool")
        if self.image_codes.shape != self.text_codes.shape:
            raise ValueError(f"codes of {tuple(self.image_codes.shape)} and {tuple(self.text_codes.shape)} differ")

    def __len__(self) -> int:
        return len(self.valid)

    def columns(self) -> dict[str, Tensor]:
        """All that has a row for each pair, by name."""
        return {one.name: column for one in fields(self) if isinstance(column := getattr(self, one.name), Tensor)}

    def split(self, parts: int) -> "list[Batch]":
        """The batch in `parts` batches for a forward each: every `parts`-th row, so that a padded end is shared out.
        Which rows meet is the same at every world size where `parts` divides a lane's rows."""
        columns = self.columns()
        return [
            replace(self, parts=parts, **{name: column[start::parts] for name, column in columns.items()})
            for start in range(parts)
        ]

    def _tokens_as_words(self) -> Tensor:
        place = torch.arange(self.text_mask.shape[1], device=self.text_mask.device).expand(self.text_mask.shape)
        own = self.text if self.text.ndim == 2 else place
        return own.long().masked_fill(~self.text_mask, -1)

    def pinned(self) -> "Batch":
        """The same batch in page-locked memory, from which a copy to a GPU overlaps with compute."""
        return replace(self, **{name: column.pin_memory() for name, column in self.columns().items()})

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`; copies overlap with compute where the source is pinned."""
        return replace(self, **{name: column.to(device, non_blocking=True) for name, column in self.columns().items()})
