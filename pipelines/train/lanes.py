"""Both ends of the lanes: a reader process turns a work item into a block, a training process blocks into batches.

The reader reads the row groups it needs, draws the caption and the augmentation by (seed, visit, sample), and
tokenises. Columns are fixed-size binary, so the training process only views buffers. Decoding stays out of it.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.taxa import class_of
from pipelines.train.lengths import AsDrawn, ByLength
from pipelines.train.order import GROUP_ROWS, LaneOrder, Rows, WorkItem
from pipelines.train.samples import Sample, SampleReader
from xmodal.batch import Batch

BLOCK_BYTES, BLOCK_BATCHES = 16 << 20, 16
"""What a block holds where nothing asks for more."""
LARGEST_BLOCK = 96 << 20
"""Bytes: blocks stay below Ray Data's target block size (128 MiB), above which a block is cut and lanes would mix."""
MANY_ITEMS = 10_000
"""Work items of a run beyond which blocks grow: Ray Data takes some 1.2 ms for each before the first one is read."""
CACHED_GROUPS = 64
"""Row groups a reader keeps in memory."""


@dataclass(frozen=True)
class LaneSource:
    """Everything a reader process needs, in a form that pickles."""

    store: Store
    dataset: str
    version: int
    order: LaneOrder
    arrange: AsDrawn | ByLength
    reader: SampleReader

    def chunk(self, epochs: int) -> int:
        """Batches a work item holds: as many as keep its block near BLOCK_BYTES, at most BLOCK_BATCHES; in a run so
        long that this makes MANY_ITEMS, more, up to LARGEST_BLOCK."""
        batch_bytes = self.order.lane_batch * self.reader.row_bytes
        usual = min(BLOCK_BATCHES, BLOCK_BYTES // batch_bytes)
        few = -(-epochs * self.order.batches * self.order.lanes // MANY_ITEMS)
        return max(1, usual, min(few, LARGEST_BLOCK // batch_bytes))

    def open(self) -> "ReadLane":
        """What reads it."""
        return ReadLane(self)


def training_rows(dataset: Dataset, left_out: pa.Array | None = None) -> Rows:
    """The rows of the train split but the samples `left_out`, in storage order. A row's class is its species, else its
    higher taxon, else its kind: blank frames are a class, and so are animals that nobody named."""
    table = dataset.records(["facts", "sample_id"], split="train")
    if left_out is not None:
        table = table.filter(~pc.field("sample_id").isin(left_out))
    item, row = (table[name].to_numpy() for name in ("item", "row"))
    order = np.lexsort((row, item))
    return Rows(item[order], row[order], _classes(table["facts"])[order])


def _classes(facts: pa.ChunkedArray) -> np.ndarray:
    """(n,) number of each row's class."""
    coded = facts.dictionary_encode().combine_chunks()  # many rows, few documents: texts are never put together
    names = [class_of(json.loads(document)) for document in coded.dictionary.to_pylist()]
    return np.unique(names, return_inverse=True)[1][coded.indices.to_numpy()]


class ReadLane:
    """Work items in, a block of rows each out."""

    def __init__(self, source: LaneSource):
        torch.set_num_threads(1)
        self.source = source
        self.dataset = Dataset.open(source.store, source.dataset, source.version)
        self.groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self.current: tuple[int, np.ndarray] | None = None

    def __call__(self, items: dict[str, np.ndarray]) -> pa.Table:
        work = [
            WorkItem(*(int(items[name][i]) for name in ("epoch", "first_batch", "batches", "lane")))
            for i in range(len(items["epoch"]))
        ]
        return pa.concat_tables([self.block(item) for item in work])

    def block(self, item: WorkItem) -> pa.Table:
        order, size = self.source.order, self.source.order.lane_batch
        lane, valid = order.lane(self._epoch(item.epoch), item.lane)
        rows = self.source.arrange(lane, order, item, self._text_length)
        samples = [self._sample(position, visit) for position, visit in rows.tolist()]
        batch = np.repeat(np.arange(item.first_batch, item.first_batch + item.batches), size)
        columns = {
            "step": pa.array(item.epoch * order.batches + batch, pa.int64()),
            "slot": pa.array(np.tile(item.lane * size + np.arange(size), item.batches), pa.int64()),
            "valid": pa.array(valid[item.first_batch * size :][: item.batches * size]),
        }
        return pa.table(columns | self.source.reader.columns(samples))

    def _epoch(self, epoch: int) -> np.ndarray:
        if self.current is None or self.current[0] != epoch:
            self.current = (epoch, self.source.order.epoch(epoch))
        return self.current[1]

    def _sample(self, position: int, visit: int) -> Sample:
        return self.source.reader.sample(*self._stored(position), visit)

    def _text_length(self, position: int, visit: int) -> int:
        return self.source.reader.text_length(*self._stored(position), visit)

    def _stored(self, position: int) -> tuple[Any, int]:
        """The row group that holds a row, and the row's place in it."""
        item, row = (int(column[position]) for column in (self.source.order.rows.item, self.source.order.rows.row))
        return self._group(item, row // GROUP_ROWS), row % GROUP_ROWS

    def _group(self, item: int, group: int) -> Any:
        key = (item, group)
        if key not in self.groups:
            self.groups[key] = self.source.reader.read_group(self.dataset, item, group)
            while len(self.groups) > CACHED_GROUPS:
                self.groups.popitem(last=False)
        self.groups.move_to_end(key)
        return self.groups[key]


def batches(
    blocks: Iterator[pa.Table], order: LaneOrder, reader: SampleReader, rank: int, size: int
) -> Iterator[Batch]:
    """This worker's share of every global batch, lane by lane.

    Raises RuntimeError where a block is not the one that the plan puts next: order is checked, never assumed.
    """
    per_rank = order.lanes // size
    rows = order.lane_batch
    while True:
        chunk = list(islice(blocks, per_rank))
        if not chunk:
            return
        steps = [block["step"].to_numpy() for block in chunk]
        lanes = [int(block["slot"][0].as_py()) // rows for block in chunk]
        expected = list(range(rank, order.lanes, size))
        if len(chunk) != per_rank or lanes != expected or any((one != steps[0]).any() for one in steps):
            raise RuntimeError(f"worker {rank} of {size} got lanes {lanes} instead of {expected}")
        for start in range(0, len(steps[0]), rows):
            share = pa.concat_tables([block.slice(start, rows) for block in chunk])
            yield reader.batch(share, int(steps[0][start]))
