"""`python -m tests.bench.memory ROWS ...`: memory of prepare's driver over archives that differ in size alone.

A Camtrap DP package in CSV is generated for ROWS frames of 100 cameras, one observation each, and a store lists a file
for every frame, which only its listing knows. Each size takes two fresh driver processes: one that makes the first
version, and one that finds nothing to do. A process of their own stands for the workers: its pixel parts hold one tiny
JPEG again and again, its record parts a constant text, so that a million frames take minutes; all else is the flow.

Measured is RssAnon of the driver, looked at every 20 ms: what it holds beyond files that the system can read again. The
figure is the peak above what the process held when its imports were done.
"""

import csv
import hashlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import pyarrow as pa

from infra.storage import Entry, LocalStore, open_store
from pipelines.prepare import flow
from pipelines.prepare.images import OUTCOMES, PixelReceipt, PixelTask
from pipelines.prepare.items import sample_id
from pipelines.prepare.parts import PIXELS, RECORDS, parquet, put_part
from pipelines.prepare.records import RecordsTask
from pipelines.prepare.settings import DataSettings, SurveySettings
from pipelines.progress import Progress
from tests.bench.frame import machine
from tests.bench.pictures import drawing
from tests.pipelines.surveys import IMAGE, TEXT
from xmodal.settings import parse

CAMERAS = 100
LOOK_SECONDS = 0.02
MODIFIED = datetime(2026, 1, 1, tzinfo=UTC)
SPECIES = ("Vulpes vulpes", "Meles meles", "Sus scrofa", "Lepus europaeus", "Martes foina")


@dataclass(frozen=True)
class Listed(LocalStore):
    """A local store that lists `frames` more files than it has."""

    frames: int = 0

    def stream(self, prefix: str = "") -> Iterator[Entry]:
        yield from super().stream(prefix)
        for number in range(self.frames):
            yield Entry(key_of(number), 2_000_000 + number, f"{hash_of(number)[:32]}", MODIFIED)


def key_of(number: int) -> str:
    """Key of a frame: a folder a camera and card, with a thousand frames on a card."""
    return f"media/camera-{number % CAMERAS:03}/{number // CAMERAS // 1000:03}DCIM/IMG_{number // CAMERAS:06}.JPG"


def hash_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_package(folder: Path, frames: int) -> None:
    """The package's descriptor and tables."""
    start = datetime(2025, 3, 1, 6).timestamp()
    cameras = [
        [f"dep-{n:03}", f"loc-{n:03}", 50 + n / 1000, 8.5, "2025-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "false"]
        for n in range(CAMERAS)
    ]
    moments = (datetime.fromtimestamp(start + n // CAMERAS * 37 + n % CAMERAS, UTC) for n in range(frames))
    media = (
        [f"media-{n:08}", f"dep-{n % CAMERAS:03}", moment.strftime("%Y-%m-%dT%H:%M:%SZ"), key_of(n), "true"]
        for n, moment in enumerate(moments)
    )
    seen = (
        [f"obs-{n:08}", f"dep-{n % CAMERAS:03}", f"media-{n:08}", "media", "animal", SPECIES[n % len(SPECIES)], 1]
        for n in range(frames)
    )
    columns = {
        "deployments": "deploymentID locationID latitude longitude deploymentStart deploymentEnd timestampIssues",
        "media": "mediaID deploymentID timestamp filePath filePublic",
        "observations": "observationID deploymentID mediaID observationLevel observationType scientificName count",
    }
    for (name, header), rows in zip(columns.items(), (cameras, media, seen), strict=True):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header.split())
            writer.writerows(rows)
    profile = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
    resources = [{"name": name, "path": f"{name}.csv"} for name in columns]
    (folder / "datapackage.json").write_text(json.dumps({"profile": profile, "resources": resources}))


class Stub:
    """Stands for the workers that read pixels and write records: the same parts and receipts, of nothing."""

    def __init__(self) -> None:
        self._jpeg = drawing(32, 32, 0)

    def __call__(self, task: Any) -> bytes:
        return self._pixels(task) if isinstance(task, PixelTask) else self._records(task)

    def _pixels(self, task: PixelTask) -> bytes:
        keys = [file.entry.key for file in task.files]
        hashes = [hashlib.sha256(key.encode()).digest() for key in keys]
        count = len(keys)
        columns = {
            "sample_id": [sample_id(task.survey, file.media_id) for file in task.files],
            "key": keys,
            "image": [self._jpeg] * count,
            "width": [32] * count,
            "height": [32] * count,
            "infrared": [False] * count,
            "source_sha256": hashes,
            "crop": [None] * count,
        }
        data = parquet(pa.table(columns, PIXELS), large=("image",))
        folder = f"pixels/{task.survey}"
        part = put_part(task.home, folder, task.item, data, count, item=task.item, survey=task.survey)
        found = {"key": keys, "sha256": hashes, "magic": ["JPEG"] * count, "infrared": [False] * count}
        nothing = {name: pa.nulls(count, OUTCOMES.field(name).type) for name in OUTCOMES.names if name not in found}
        table = pa.table({name: (found | nothing)[name] for name in OUTCOMES.names}, OUTCOMES)
        receipt = PixelReceipt(task.item, part, table).to_bytes()
        task.receipt.put(f"{task.item}.parquet", receipt)
        return receipt

    def _records(self, task: RecordsTask) -> bytes:
        splits = [task.splits[key][0] for key in task.media]
        columns = {"split": splits, "captions": [b'[{"text": "a frame"}]'] * len(splits)}
        nothing = {name: pa.nulls(len(splits), RECORDS.field(name).type) for name in RECORDS.names}
        table = pa.table({name: (nothing | columns)[name] for name in RECORDS.names}, RECORDS)
        counts = {name: splits.count(name) for name in sorted(set(splits))}
        facts = {"item": task.item, "survey": task.survey, "records_id": task.identity}
        facts |= {"splits": counts, "split_reasons": {}}
        entry = put_part(task.home, f"records/{task.survey}", task.item, parquet(table), len(splits), **facts)
        receipt = json.dumps(entry).encode()
        task.receipt.put(f"{task.identity}.json", receipt)
        return receipt


class Apart:
    """Does the tasks one after the other in a process of its own."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(
        self, make: Callable[..., Any], arguments: tuple[Any, ...], tasks: Sequence[Any], light: bool = False
    ) -> Iterator[bytes]:
        for task in tasks:
            yield self._pool.submit(_stubbed, task).result()


@lru_cache
def _stub() -> Stub:
    return Stub()


def _stubbed(task: Any) -> bytes:
    return _stub()(task)


class Silent(Progress):
    """Says nothing."""

    def update(self, done: int, **facts: Any) -> None:
        return


class Watch(AbstractContextManager["Watch"]):
    """The peak of this process's RssAnon between enter and exit, in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self._ended = threading.Event()
        self._looks = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._looks.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._looks.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.peak = max(self.peak, anonymous())


def anonymous() -> int:
    """Bytes of this process's RssAnon."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


@dataclass(frozen=True)
class Driven:
    """One run: the version it ended with, its peak above the start, and its time."""

    version: int
    grown: int
    seconds: float


def driven(folder: str, frames: int) -> Driven:
    """Prepares the package in `folder`; for a fresh process."""
    survey = {"name": "generated", "archive": f"{folder}/archive", "source": {"kind": "camtrap_dp"}}
    data = parse(DataSettings, {"name": "generated", "surveys": [survey]})
    store = Listed(f"{folder}/archive", frames)
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        patch.object(SurveySettings, "store", lambda self: store),
    ):
        pool.submit(int).result()
        before, begun = anonymous(), time.perf_counter()
        with Watch() as watch:
            dataset = flow.prepare(data, open_store(f"{folder}/root"), IMAGE, TEXT, Silent, Apart(pool))
        return Driven(dataset.version, watch.peak - before, time.perf_counter() - begun)


def measured(frames: int) -> Iterator[tuple[str, Driven]]:
    """The first version, and the run that finds nothing to do, each as soon as it ended."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "archive").mkdir()
        write_package(Path(folder, "archive"), frames)
        for name in ("first", "no change"):
            yield name, _fresh(folder, frames)


def _fresh(folder: str, frames: int) -> Driven:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(driven, folder, frames).result()


def main(sizes: list[int]) -> None:
    print(machine())
    print(f"{'rows':>9}  {'run':12}  {'peak above start':>16}  {'more a row':>10}  {'wall':>7}")
    earlier: dict[str, tuple[int, int]] = {}
    for rows in sizes:
        for name, run in measured(rows):
            last, before = earlier.get(name, (0, 0))
            slope = f"{(run.grown - before) / (rows - last):6.0f} B" if last else ""
            line = f"{rows:9,}  {name:12}  {run.grown / 1e6:13.1f} MB  {slope:>10}  {run.seconds:5.0f} s"
            print(line, flush=True)
            earlier[name] = (rows, run.grown)


if __name__ == "__main__":
    main([int(rows.replace("_", "")) for rows in sys.argv[1:]] or [10_000, 100_000])
