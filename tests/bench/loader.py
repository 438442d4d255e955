"""Lanes through Ray Data, one consumer, against plain pyarrow over the same parts with the same decode and crops.

Our rows carry more than the reference's pixels: token ids, captions, codes, ids, in the epoch's shuffled order. How
much of the distance is that and how much is Ray, the second comparison tells: the same reader without Ray.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import ray
import torch

from infra.cluster import local_ray
from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.prepare import flow
from pipelines.train.blocks import lane_dataset
from pipelines.train.lanes import LaneSource, batches, training_rows
from pipelines.train.lengths import AsDrawn
from pipelines.train.order import LaneOrder
from pipelines.train.samples import PixelImages, SampleReader, TokenTexts
from tests.bench.frame import Comparison, Side, compare
from tests.bench.pictures import DRAWINGS, drawing, write_archive
from tests.bench.rayside import settle
from tests.pipelines.surveys import IMAGE, IN_PROCESS, TEXT, coco_settings
from xmodal.batch import Batch
from xmodal.encoders.transformer import Transformer
from xmodal.transforms import AugmentSettings

IMAGES, SIZE, BATCH, LANES, EPOCHS = 1280, 224, 64, 4, 2
CAPTION_LENGTH = 32


def comparisons() -> Iterator[Comparison]:
    """The cluster is started once and stands before the first run."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, local_ray(1, f"{folder}/ray"):
        bench = LoaderBench(Path(folder), IMAGES, SIZE, EPOCHS)
        about = f"{len(bench.source.order.rows)} stored JPEGs of {SIZE} x {SIZE}, {EPOCHS} epochs"
        yield compare(f"loader, {about}", f"batch of {BATCH}", bench.lanes(), bench.plain(), repeats=3)
        yield compare(f"row making without Ray, {about}", f"batch of {BATCH}", bench.reader(), bench.plain(), repeats=3)


class LoaderBench:
    """The sides over one dataset of `images` drawn frames; a side's unit is BATCH valid rows."""

    def __init__(self, folder: Path, images: int, size: int, epochs: int):
        data = coco_settings(f"{folder}/archive", pixels={"size": size}, vocabulary_size=1000)
        drawings = [drawing(size, size, number) for number in range(DRAWINGS)]
        write_archive(open_store(data.surveys[0].archive), drawings, images)
        dataset = flow.prepare(data, open_store(f"{folder}/root"), IMAGE, TEXT, workers=IN_PROCESS)
        self.dataset, self.epochs, self.home = dataset, epochs, folder / "root" / "datasets" / dataset.name
        self.source = lane_source(dataset)

    def lanes(self) -> Side:
        """As pipelines.train consumes them; a start is a run of the last batch alone."""
        last = self.epochs * self.source.order.batches - 1
        return Side("lanes through Ray Data", lambda: drained(self.ray(0)), lambda: drained(self.ray(last)), settle)

    def reader(self) -> Side:
        return Side("the same reader in this process", lambda: drained(self.direct()))

    def plain(self) -> Side:
        return Side("plain pyarrow, pixels only", lambda: sum(len(one) for one in self.pixels()) / BATCH)

    def ray(self, step: int) -> Iterator[Batch]:
        """Batches from `step` on, through the split that Ray Train makes for one worker."""
        dataset = lane_dataset(self.source, self.epochs, lambda: step, readers=1)()
        dataset.context.execution_options = ray.data.ExecutionOptions(preserve_order=True)
        (shard,) = dataset.streaming_split(1, equal=True)
        blocks = iter(shard.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2))
        yield from batches(blocks, self.source.order, self.source.reader, 0, 1)

    def direct(self) -> Iterator[Batch]:
        lane = self.source.open()
        items = self.source.order.plan(self.epochs, self.source.chunk(self.epochs), 0)
        yield from batches((lane.block(item) for item in items), self.source.order, self.source.reader, 0, 1)

    def pixels(self) -> Iterator[np.ndarray]:
        """uint8 (at most BATCH, 3, size, size) of the train split in storage order, epoch by epoch."""
        for epoch in range(self.epochs):
            waiting: list[bytes] = []
            for name, stored in self._stored():
                waiting.append(self.source.reader.images.image(stored, name, epoch))
                if len(waiting) == BATCH:
                    yield self._stacked(waiting)
                    waiting = []
            yield self._stacked(waiting)

    def _stored(self) -> Iterator[tuple[str, bytes]]:
        """Sample id and JPEG of every training row, row group by row group."""
        for item in self.dataset.items:
            pixels, records = (pq.ParquetFile(self.home / part.path) for part in (item.pixels, item.records))
            for group in range(pixels.num_row_groups):
                split = records.read_row_group(group, ["split"])["split"].to_pylist()
                table = pixels.read_row_group(group, ["sample_id", "image"])
                rows = zip(table["sample_id"].to_pylist(), table["image"].to_pylist(), split, strict=True)
                yield from ((name, stored) for name, stored, own in rows if own == "train")

    def _stacked(self, rows: list[bytes]) -> np.ndarray:
        return np.frombuffer(bytearray(b"".join(rows)), np.uint8).reshape(-1, *self.source.reader.images.shape)


def lane_source(dataset: Dataset) -> LaneSource:
    """What a recipe with built-in encoders and the default augmentation reads."""
    words, text = dataset.wordpiece().to_json(), Transformer(kind="transformer")
    images = PixelImages(dataset.pixel_size, AugmentSettings(), 0)
    texts = TokenTexts(text, words, text.length)
    reader = SampleReader(images, texts, words, CAPTION_LENGTH, len(dataset.attributes()), 0)
    order = LaneOrder(training_rows(dataset), seed=0, global_batch=BATCH, lanes=LANES, window=16)
    return LaneSource(dataset.store, dataset.name, dataset.version, order, AsDrawn(), reader)


def drained(stream: Iterator[Batch]) -> float:
    """Reads a stream to its end; returns its valid rows in batches."""
    return sum(int(batch.valid.sum()) for batch in stream) / BATCH
