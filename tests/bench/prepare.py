"""`prepare` on Ray Data against a plain process pool on the same files; one image against a full decode by Pillow.

Our side does more with a file than the pool: ledger, split, captions, records and a committed version are in its time.
"""

import tempfile
from collections.abc import Iterator
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
from tests.bench.frame import Comparison, Side, compare
from tests.bench.pictures import DRAWINGS, drawing, write_archive
from tests.bench.rayside import settle
from tests.pipelines.surveys import IMAGE, TEXT, coco_settings
from xmodal.transforms import PixelSettings, prepare_image

IMAGES, WIDTH, HEIGHT = 1200, 800, 600
LARGE = (2048, 1536)
WORKERS = 2
EXECUTIONS = 2
"""Times that prepare starts Ray Data's actors: for pixels, then for records."""


def comparisons() -> Iterator[Comparison]:
    """The cluster is started once and stands before the first run."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, local_ray(WORKERS, f"{folder}/ray"):
        bench = PrepareBench(Path(folder), IMAGES, WIDTH, HEIGHT, RayWorkers(WORKERS))
        title = f"prepare, {IMAGES} JPEGs of {WIDTH} x {HEIGHT}, {WORKERS} processes"
        yield compare(title, "image", bench.ours(), bench.reference(), repeats=3)
    yield one_image()


class PrepareBench:
    """Both sides over one archive of `images` drawn frames below `folder`; every run writes to a place of its own."""

    def __init__(self, folder: Path, images: int, width: int, height: int, workers: Workers):
        self.folder, self.workers, self.runs = folder, workers, count()
        self.data = coco_settings(f"{folder}/archive", pixels={"size": 224})
        write_archive(open_store(self.data.surveys[0].archive), images, width, height)

    def ours(self) -> Side:
        return Side("xmodal prepare (Ray Data)", lambda: rows(self.prepared()), self._start_actors, settle)

    def reference(self) -> Side:
        return Side("process pool", self.pooled, self._start_pool)

    def prepared(self) -> Dataset:
        root = open_store(str(self._fresh()))
        return flow.prepare(self.data, root, IMAGE, TEXT, workers=self.workers)

    def pooled(self) -> int:
        return plain.prepare(self.folder / "archive", self._fresh(), self.data.pixels, WORKERS)

    def _start_actors(self) -> None:
        """The actors of a run, with items of no files."""
        store = open_store(str(self._fresh()))
        tasks = [PixelTask(str(n), "none", store, store, store, [], self.data.pixels) for n in range(WORKERS)]
        for _ in range(EXECUTIONS):
            list(self.workers.run(ReadPixels, (), tasks))

    def _start_pool(self) -> None:
        plain.pooled([[]] * WORKERS, self._fresh(), self.data.pixels, WORKERS)

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
