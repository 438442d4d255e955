"""Batches of 64 images on their way to the training step: our lanes through Ray Data against plainer ways.

Raw pixels: the dataset's pixel parts written once more with 3 x 224 x 224 bytes an image in place of its JPEG, so that
no time goes into decoding. Against a direct pyarrow reader of the same parts (row group by row group in storage order,
one copy, as a pinned buffer is filled), a torch DataLoader with one worker over them, and Ray Data's own way: the
tensor column that its `write_parquet` makes, read by its defaults. JPEG parts: against decoding the same JPEGs from
memory.

Our rows are shuffled, and carry tokens, captions, codes and ids; the others' are pixels. A reader of ours keeps 64 row
groups in memory, which is all of this dataset: here it forgets them after each epoch, as it would those of a large one.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Rows

from infra.cluster import local_ray
from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.train.lanes import LaneSource, ReadLane
from pipelines.train.order import GROUP_ROWS
from pipelines.train.samples import PixelImages
from tests.bench.frame import Comparison, Side, compare
from tests.bench.loader import BATCH, IMAGES, SIZE, LoaderBench
from tests.bench.rayside import settle
from xmodal.transforms import decode_pixels

RAW_EPOCHS, JPEG_EPOCHS, TENSOR_EPOCHS = 40, 8, 4
"""Passes of a run: enough that its batches cost as much as its start, which is taken off."""


def comparisons() -> Iterator[Comparison]:
    """The cluster is started once and stands before the first run."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, local_ray(1, f"{folder}/ray"):
        jpeg = ColdBench(Path(folder), IMAGES, SIZE, JPEG_EPOCHS)
        raw, unit = RawBench(jpeg, Path(folder), RAW_EPOCHS, TENSOR_EPOCHS), f"batch of {BATCH}"
        for reference in (raw.plain(), raw.loader(), raw.tensors()):
            yield compare(f"raw rows, lanes / {reference.name}", unit, raw.lanes(), reference, repeats=3)
        yield compare("raw rows, the reader without Ray / pyarrow", unit, raw.reader(), raw.plain(), repeats=3)
        yield compare("JPEG rows, lanes / decoding alone", unit, jpeg.lanes(), jpeg.decoding(), repeats=3)


class ColdLane(ReadLane):
    """Forgets an epoch's row groups when the next begins."""

    def _epoch(self, epoch: int) -> np.ndarray:
        if self.current is None or self.current[0] != epoch:
            self.groups.clear()
        return super()._epoch(epoch)


class ColdSource(LaneSource):
    """Opened as such a lane."""

    def open(self) -> ReadLane:
        return ColdLane(self)


class ColdBench(LoaderBench):
    """Lanes that read every epoch anew."""

    def __init__(self, folder: Path, images: int, size: int, epochs: int):
        super().__init__(folder, images, size, epochs)
        self.source = ColdSource(**vars(self.source))

    def decoding(self) -> Side:
        stored = [jpeg for _, jpeg in self._stored()]
        return Side("decoding alone", lambda: sum(len(decode_pixels(one)) for one in stored) / 3 / BATCH)


@dataclass(frozen=True)
class RawImages(PixelImages):
    """Pixels that are stored as they are."""

    def image(self, stored: bytes, sample: str, epoch: int) -> bytes:
        return stored


@dataclass(frozen=True)
class Page:
    """A row group of raw pixels, and which of its rows are training images."""

    path: str
    group: int
    train: np.ndarray
    """(n,) positions in the row group."""
    shape: tuple[int, ...]

    def pixels(self) -> np.ndarray:
        """(rows, 3, size, size) uint8, a view of what was read."""
        (chunk,) = pq.ParquetFile(self.path).read_row_group(self.group, ["image"])["image"].chunks
        return np.frombuffer(chunk.buffers()[2], np.uint8).reshape(len(chunk), *self.shape)


class RawBench(ColdBench):
    """The dataset of `jpeg` in a root of its own, its images stored as pixels."""

    def __init__(self, jpeg: ColdBench, folder: Path, epochs: int, tensor_epochs: int):
        shutil.copytree(folder / "root", folder / "raw")
        self.dataset, self.epochs = Dataset.open(open_store(f"{folder}/raw"), jpeg.dataset.name), epochs
        self.home = folder / "raw" / "datasets" / jpeg.dataset.name
        images = jpeg.source.reader.images
        assert isinstance(images, PixelImages)
        reader = replace(jpeg.source.reader, images=RawImages(**vars(images)))
        self.source = replace(jpeg.source, store=self.dataset.store, reader=reader)
        self.pages = list(self._pages())
        self.folder, self.tensor_epochs = folder / "tensors", tensor_epochs

    def _pages(self) -> Iterator[Page]:
        """Writes the pixel parts anew; then what they hold, in storage order."""
        for item in self.dataset.items:
            path = str(self.home / item.pixels.path)
            table = pq.read_table(path)
            pixels = [decode_pixels(one).numpy().tobytes() for one in table["image"].to_pylist()]
            raw = table.set_column(table.column_names.index("image"), "image", pa.array(pixels, pa.binary()))
            pq.write_table(raw, path, row_group_size=GROUP_ROWS, compression="none", use_dictionary=False)
            split = pq.read_table(self.home / item.records.path, columns=["split"])["split"].to_pylist()
            train = np.array([own == "train" for own in split])
            for group in range(-(-len(train) // GROUP_ROWS)):
                own = train[group * GROUP_ROWS : (group + 1) * GROUP_ROWS].nonzero()[0]
                yield Page(path, group, own, self.source.reader.images.shape)

    def plain(self) -> Side:
        return Side("a direct pyarrow reader", lambda: sum(len(one) for one in self.filled()) / BATCH)

    def filled(self) -> Iterator[np.ndarray]:
        """One buffer (BATCH, 3, size, size) after another, the last one cut."""
        buffer, full = np.empty((BATCH, *self.source.reader.images.shape), np.uint8), 0
        for page in self.pages * self.epochs:
            pixels, left = page.pixels(), page.train
            while len(left):
                some, left = left[: BATCH - full], left[BATCH - full :]
                np.take(pixels, some, axis=0, out=buffer[full : full + len(some)], mode="clip")
                full += len(some)
                if full == BATCH:
                    yield buffer
                    full = 0
        yield buffer[:full]

    def loader(self) -> Side:
        """With its usual collation; its process is started anew, as Ray cannot be forked."""
        return Side("a torch DataLoader", lambda: self._loaded(self.epochs), lambda: self._loaded(0))

    def _loaded(self, epochs: int) -> float:
        rows = PageRows([page for page in self.pages if len(page.train)], epochs)
        loader = DataLoader(rows, BATCH, num_workers=1, multiprocessing_context="spawn")
        return sum(len(batch) for batch in loader) / BATCH

    def tensors(self) -> Side:
        """Every file of a pass is another one, since a list of files that repeats itself is no usual one."""
        images = [page.pixels()[page.train] for page in self.pages if len(page.train)]
        for name, part, times in (("all", images, self.tensor_epochs), ("one", images[:1], 1)):
            for number in range(times):
                ray.data.from_numpy(part).write_parquet(str(self.folder / name / str(number)))

        def read(name: str) -> float:
            files = sorted(str(path) for path in (self.folder / name).rglob("*.parquet"))
            (shard,) = ray.data.read_parquet(files).streaming_split(1, equal=False)
            return sum(len(batch["data"]) for batch in shard.iter_torch_batches(batch_size=BATCH)) / BATCH

        return Side("Ray Data's tensor column", lambda: read("all"), lambda: read("one"), settle)


class PageRows(Rows[Tensor]):
    """Training images in storage order, pass by pass; a process keeps the row group that it read last. `epochs` 0 is
    one image."""

    def __init__(self, pages: list[Page], epochs: int):
        self.pages = pages
        once = [(number, row) for number, page in enumerate(pages) for row in page.train.tolist()]
        self.places, self.last = once * epochs or once[:1], (-1, np.empty(0))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Tensor:
        page, row = self.places[number]
        if self.last[0] != page:
            self.last = (page, self.pages[page].pixels())
        return torch.from_numpy(self.last[1][row].copy())
