"""Settings of a training run that are part of its identity."""

import math
from typing import Literal

from pydantic import Field, model_validator

from pipelines.train.replay import Replay
from xmodal.corruption import WordCorruption
from xmodal.settings import Settings
from xmodal.transforms import AugmentSettings


class OptimizerSettings(Settings):
    """AdamW (Loshchilov and Hutter, 2019) with linear warm-up and cosine decay over the run's samples."""

    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak learning rate."""
    final_fraction: float = Field(default=0.01, ge=0, le=1)
    """Learning rate at the end, as a share of the peak."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the run's samples over which the rate rises from zero."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled decay of matrices; vectors (biases, norms, the temperature) are not decayed."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's moment coefficients."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest global gradient norm."""
    drop_at: float | None = Field(default=None, gt=0, lt=1)
    """Instead of the cosine: share of the run's samples after the warm-up from which the rate is a tenth of the peak;
    SCAN, USER and others fall by steps."""
    text_factor: float = Field(default=1.0, gt=0)
    """Factor of the rate for the text encoder, without its head: USER 0.1 for BERT."""

    def decayed(self, progress: float) -> float:
        """Share of the peak at `progress` (0..1) between warm-up and end."""
        if self.drop_at is not None:
            return 1.0 if progress < self.drop_at else 0.1
        low = self.final_fraction
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))


class TrainSettings(Settings):
    """Seed, batches, schedule, augmentation. Lengths are in samples, so the number of workers changes nothing."""

    seed: int = 0
    """Seed of weights, order, captions, augmentation and negatives."""
    epochs: int = Field(default=10, ge=1)
    """Passes over the training images; each pass draws one caption an image."""
    global_batch: int = Field(default=128, ge=1)
    """Samples of one optimizer step over all workers (B times S)."""
    stated_batch: int | None = Field(default=None, ge=1)
    """Global batch B that learning_rate and model.momentum.coefficient are meant for, where it is not global_batch B':
    the rate is taken times B' / B, the coefficient to the power of it. Nothing else changes them."""
    lanes: int = Field(default=4, ge=1)
    """Parallel streams the epoch is cut into (see pipelines.train.order); every number of workers must divide it."""
    window: int = Field(default=16, ge=1)
    """Row groups (128 rows each) that are shuffled among each other: larger mixes more and reads less in sequence."""
    length_window: int = Field(default=1, ge=1)
    """Batches whose rows are sorted by the length of their texts among each other, so that less of a batch is padding;
    1 = not. Other rows then meet in a batch: texts of like length."""
    class_power: float = Field(default=1.0, ge=0, le=1)
    """A species of n images gets draws in proportion to n ** class_power: 1 = every image once an epoch, 0.5 =
    square-root sampling, 0 = all species equally often. An epoch always has as many draws as there are images."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers that matrices are multiplied in. bf16 is torch's autocast; weights, key encoder, queue, similarities and
    losses stay float32."""
    accumulate: int = Field(default=1, ge=1)
    """Forwards that make up an optimizer step, each with its share of the batch: for batches that do not fit. A part's
    queries meet the part's own keys and the queue, not the rest of the batch, so it is another run than without."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """AdamW and its schedule."""
    augment: AugmentSettings = AugmentSettings()
    """Random image changes; without effect on precomputed features."""
    words: WordCorruption | None = None
    """Random changes of the words that the text encoder reads; it must not be frozen. Captions to be generated stay."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Optimizer steps between checkpoints, each with a validation; without it one an epoch."""
    check_alike_every: int = Field(default=100, ge=1)
    """Optimizer steps between comparisons of what every worker must hold alike (queue, key encoder), which are made at
    each checkpoint too; a difference ends the attempt before it spreads."""
    validation_rows: int = Field(default=2000, ge=1)
    """Validation images used during training, at most; `evaluate` reads all."""
    init_from: str | None = None
    """Checkpoint whose weights start the run (warm start); asks only for the same architecture."""
    replay: Replay | None = None
    """Which of the images that were trained on before are trained on again; without it all."""

    @model_validator(mode="after")
    def _lanes_divide_the_batch(self) -> "TrainSettings":
        if self.global_batch % self.lanes:
            raise ValueError(f"global_batch {self.global_batch} must be a multiple of lanes {self.lanes}")
        if self.global_batch // self.lanes % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} must divide the {self.global_batch // self.lanes} rows that each of "
                f"{self.lanes} lanes has in a batch of {self.global_batch}"
            )
        return self
