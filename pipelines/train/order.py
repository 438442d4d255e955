"""The order of samples in an epoch: a function of the seed and the dataset version alone.

The epoch's rows are shuffled by window: row groups are permuted, then rows are permuted inside windows of a few row
groups, so that neighbours in the order stand close in storage. The order is cut into L lanes of equal length. Global
batch b is rows [b * B/L, (b+1) * B/L) of every lane, and worker r of S reads lanes r, r + S, ...: which samples meet
in a batch depends on neither S nor on where a run was interrupted. The last batch is padded lane by lane with rows
marked invalid, so each drawn sample comes once. Which rows an epoch draws is `sampling`'s: every one once by default.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.train.sampling import ClassSampling
from xmodal.transforms import draw

GROUP_ROWS = 128
"""Rows of a Parquet row group in pixel and record parts."""


@dataclass(frozen=True)
class Rows:
    """The training rows of a dataset version, sorted: row n is row `row[n]` of item `item[n]`, of class `label[n]`."""

    item: np.ndarray
    row: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class WorkItem:
    """`batches` consecutive batches of one lane of one epoch: what a reader turns into one block."""

    epoch: int
    first_batch: int
    batches: int
    lane: int


@dataclass(frozen=True)
class LaneOrder:
    """The order of `rows` under `seed`, in `lanes` lanes of `global_batch / lanes` rows a batch."""

    rows: Rows
    seed: int
    global_batch: int
    lanes: int
    window: int
    class_power: float = 1.0

    @cached_property
    def sampling(self) -> ClassSampling:
        return ClassSampling(self.rows.label, self.class_power, self.seed)

    @property
    def lane_batch(self) -> int:
        """Rows of one lane in one batch (B / L)."""
        return self.global_batch // self.lanes

    @property
    def batches(self) -> int:
        """Batches of an epoch; the last one may be padded."""
        return -(-len(self.rows) // self.global_batch)

    def epoch(self, epoch: int) -> np.ndarray:
        """(N, 2) position in `rows` and visit: the whole epoch before it is cut into lanes."""
        generator = draw(self.seed, "order", epoch)
        drawn = self.sampling.epoch(epoch)
        group = self.rows.item.astype(np.int64) << 32 | self.rows.row // GROUP_ROWS
        _, group = np.unique(group, return_inverse=True)
        rank = generator.permutation(group.max() + 1)[group[drawn[:, 0]]]
        return drawn[np.lexsort((generator.random(len(drawn)), rank // self.window))]

    def lane(self, epoch_order: np.ndarray, lane: int) -> tuple[np.ndarray, np.ndarray]:
        """(batches * B/L, 2) of one lane and the valid flags; padding repeats the lane's first row."""
        length = self.batches * self.lane_batch
        padding = self.batches * self.global_batch - len(self.rows)
        share = np.full(self.lanes, padding // self.lanes) + (np.arange(self.lanes) < padding % self.lanes)
        start = lane * length - int(share[:lane].sum())
        own = epoch_order[start : start + length - share[lane]]
        filler = own[:1] if len(own) else epoch_order[:1]
        valid = np.arange(length) < len(own)
        return np.concatenate([own, np.repeat(filler, length - len(own), axis=0)]), valid

    def plan(self, epochs: int, chunk: int, step: int) -> Iterator[WorkItem]:
        """Work items from optimizer step `step` on: chunk by chunk, in each chunk lane by lane."""
        for epoch in range(step // self.batches, epochs):
            batch = step % self.batches if epoch == step // self.batches else 0
            while batch < self.batches:
                count = min(chunk - batch % chunk, self.batches - batch)
                yield from (WorkItem(epoch, batch, count, lane) for lane in range(self.lanes))
                batch += count
