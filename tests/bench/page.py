"""Search on the page: a query over all vectors against the product that it contains, and what an answer takes by HTTP
as the images grow. Vectors are drawn; what else is known of an image is as a survey has it."""

import dataclasses
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
import uvicorn

from pipelines.serve.app import build
from pipelines.serve.desk import PER_PAGE, Desk
from pipelines.serve.facets import Facets
from pipelines.serve.guard import LOOPBACK, Guard
from pipelines.serve.index import ABOUT, Index
from pipelines.serve.ranking import best, cosines
from pipelines.serve.review import Review
from pipelines.serve.selection import Selection
from tests.bench.frame import Comparison, Side, compare

WIDTH = 256
SIZES = (10_000, 100_000, 1_000_000)
ASKED = 15
NAMES: dict[str, list[Any]] = {
    "survey": ["north", "south"],
    "place": [f"{n:016x}" for n in range(400)],
    "split": ["train", "val", "test", "none"],
    "light": ["day", "night", None],
    "label": [f"Genus species{n}" for n in range(60)],
    "type": ["animal", "blank", "unknown"],
}


@dataclasses.dataclass(frozen=True)
class Answers:
    """How long the server took, by kind of question."""

    images: int
    seconds: dict[str, list[float]]

    def lines(self) -> list[str]:
        return [
            f"page over {self.images:,} images, {what}: {1000 * statistics.median(took):.0f} ms "
            f"({1000 * min(took):.0f} to {1000 * max(took):.0f})"
            for what, took in self.seconds.items()
        ]

    def row(self) -> str:
        middle = {what: f"{1000 * statistics.median(took):.0f} ms" for what, took in self.seconds.items()}
        return f"| page over {self.images:,} images: {middle} | | | | | |"


def comparisons() -> Iterator[Comparison | Answers]:
    """The query alone, then the page."""
    with tempfile.TemporaryDirectory(prefix="xmodal-bench-") as folder:
        for size in SIZES:
            index = drawn(Path(folder), size)
            yield query(index)
            yield answers(index, Path(folder) / f"review-{size}.csv")


def drawn(folder: Path, size: int) -> Index:
    """An index of `size` images, its vectors in a mapped file."""
    generator = np.random.default_rng(0)
    with (folder / "images.f32").open("wb") as file:
        for begin in range(0, size, 100_000):
            part = generator.standard_normal((min(100_000, size - begin), WIDTH), dtype=np.float32)
            file.write((part / np.linalg.norm(part, axis=1, keepdims=True)).tobytes())
    vectors = np.memmap(folder / "images.f32", "<f4", mode="c").reshape(-1, WIDTH)
    columns: dict[str, pa.Array] = {
        name: pa.array(values).take(pa.array(generator.integers(0, len(values), size)))
        for name, values in NAMES.items()
    }
    columns["file"] = pa.array([f"img/{n:07d}.jpg" for n in range(size)])
    columns["captured_at"] = pa.array(["2026-05-01 11:00:00"]).take(pa.array(np.zeros(size, int)))
    columns["species_confidence"] = pa.array(generator.random(size))
    about = pa.table([columns.get(field.name, pa.nulls(size, field.type)) for field in ABOUT], schema=ABOUT)
    return Index(vectors, about, np.zeros((0, WIDTH), np.float32), [])


def query(index: Index) -> Comparison:
    """A page of the best against the bare product of all vectors with one."""
    asked, among = np.array(index.images[0]), np.arange(len(index))
    bare, wanted = torch.from_numpy(index.images), torch.from_numpy(asked)

    def ours() -> float:
        best(cosines(index.images, asked), among, 0, PER_PAGE)
        return 1

    def product() -> float:
        torch.mv(bare, wanted)
        return 1

    title = f"search of {len(index):,} vectors of {WIDTH} against its matrix product"
    return compare(title, "query", Side("xmodal serve", ours), Side("torch.mv", product), repeats=9)


def answers(index: Index, review: Path) -> Answers:
    """By HTTP from a server in this process: neighbours of an image, narrowed, and no question."""
    seconds: dict[str, list[float]] = {}
    with served(index, review) as address:
        for what, words in {
            "neighbours": "like={}",
            "neighbours narrowed": "like={}&label=Genus+species7&light=night",
            "narrowed alone": "label=Genus+species{}",
        }.items():
            took = []
            for n in range(ASKED + 1):
                begun = time.perf_counter()
                with urllib.request.urlopen(f"{address}api/search?{words.format(n)}", timeout=60) as answer:
                    answer.read()
                took.append(time.perf_counter() - begun)
            seconds[what] = took[1:]
    return Answers(len(index), seconds)


@contextmanager
def served(index: Index, review: Path) -> Iterator[str]:
    """The page's server over an index; no image is asked for, so there is neither a dataset nor a model."""
    kept = Review(review)
    nothing = cast(Any, None)
    desk = Desk(nothing, nothing, index, Facets.of(index), nothing, nothing, kept,
                Selection(index, kept, None, None), None)  # fmt: skip
    server = uvicorn.Server(uvicorn.Config(build(desk, Guard(LOOPBACK, "")), port=0, log_level="warning"))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
