"""`prepare` on Ray Data against plain process pools on the same files; one image against a full decode by Pillow.

Our side does more with a file than a pool: ledger, split, captions, records and a committed version are in its time.
One pool decodes, resizes and encodes by the same `prepare_image`, another as a first script does, by Pillow alone, and
another as img2dataset does. `python -m tests.bench.prepare "12 MP" "3 MP"` takes larger pictures, and half an hour.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import torch

from infra.cluster import local_ray
from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.prepare import flow
from pipelines.prepare.images import PixelTask, ReadPixels
from pipelines.prepare.workers import RayWorkers, Workers
from tests.bench import plain
from tests.bench.frame import Comparison, Side, compare, show
from tests.bench.photographs import CAMERAS, photographs
from tests.bench.pictures import DRAWINGS, drawing, write_archive
from tests.bench.rayside import settle
from tests.pipelines.surveys import IMAGE, TEXT, coco_settings
from xmodal.transforms import PixelSettings, prepare_image

SMALL = (800, 600)
LARGE = (2048, 1536)
FILES = 1200
"""Of a few pictures that differ by a comment alone: more than an item has, so that two processes have work."""
KINDS = ("0.5 MP", "12 MP", "3 MP")
WORKERS = 2
POOLS = {"the same decoding": plain.ours, "Pillow alone": plain.squeezed, "img2dataset's way": plain.restored}


def comparisons(*kinds: str) -> Iterator[Comparison]:
    """Of the first of KINDS, or of others. The cluster is started once and stands before the first run."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, local_ray(WORKERS, f"{folder}/ray"):
        for kind in kinds or KINDS[:1]:
            bench = PrepareBench(Path(folder) / kind, drawn(kind), FILES, RayWorkers(WORKERS))
            for name, row in POOLS.items():
                title = f"prepare, {FILES} JPEGs, {kind}, {WORKERS} processes"
                yield compare(title, "image", bench.ours(), bench.pool(name, row), repeats=3)
    yield one_image()


def drawn(kind: str) -> list[bytes]:
    """A few pictures of a kind."""
    cameras = {one.name: one for one in CAMERAS}
    return photographs(cameras[kind], DRAWINGS) if kind in cameras else [drawing(*SMALL, n) for n in range(DRAWINGS)]


class PrepareBench:
    """The sides over one archive of `images` files below `folder`; every run writes to a place of its own."""

    def __init__(self, folder: Path, pictures: Sequence[bytes], images: int, workers: Workers):
        self.folder, self.workers, self.runs = folder, workers, count()
        self.data = coco_settings(f"{folder}/archive", pixels={"size": 224})
        write_archive(open_store(self.data.surveys[0].archive), pictures, images)

    def ours(self) -> Side:
        return Side("xmodal prepare (Ray Data)", lambda: rows(self.prepared()), self._start_actors, settle)

    def pool(self, name: str, row: plain.Row) -> Side:
        return Side(f"process pool, {name}", lambda: self.pooled(row), lambda: self._start_pool(row))

    def prepared(self) -> Dataset:
        root = open_store(str(self._fresh()))
        return flow.prepare(self.data, root, IMAGE, TEXT, workers=self.workers)

    def pooled(self, row: plain.Row) -> int:
        return plain.prepare(self.folder / "archive", self._fresh(), self.data.pixels, WORKERS, row)

    def _start_actors(self) -> None:
        """The actors of a run, with items of no files."""
        store = open_store(str(self._fresh()))
        tasks = [PixelTask(str(n), "none", store, store, store, [], self.data.pixels) for n in range(WORKERS)]
        list(self.workers.run(ReadPixels, (), tasks))

    def _start_pool(self, row: plain.Row) -> None:
        plain.pooled([[]] * WORKERS, self._fresh(), self.data.pixels, WORKERS, row)

    def _fresh(self) -> Path:
        return self.folder / f"run-{next(self.runs)}"


def rows(dataset: Dataset) -> int:
    """Images of a version."""
    return sum(item.rows for item in dataset.items)


def one_image() -> Comparison:
    """Both sides read from memory, in this process."""
    settings = PixelSettings()
    files = [drawing(*LARGE, number) for number in range(DRAWINGS)]
    ours = Side("prepare_image", lambda: len([prepare_image(data, settings) for data in files]))
    naive = Side("Pillow, full decode", lambda: len([plain.squeezed(data, settings) for data in files]))
    return compare(f"one image of {LARGE[0]} x {LARGE[1]} to {settings.size}, one thread", "image", ours, naive)


if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(KINDS):
        sys.exit(f"{unknown.pop()}: no such kind of pictures; allowed: {', '.join(KINDS)}")
    show(comparisons(*sys.argv[1:]))
