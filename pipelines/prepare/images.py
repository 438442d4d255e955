"""Pixel parts: the files of one item read, decoded and written, with an outcome for every file.

What the parent version found in an unchanged file is copied from its part; the archive is asked for new and changed
files alone. A bad file is an outcome and never an error. An item's receipt is written last; a run that finds it does
not read the item again.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from infra.storage import NotFound, Store
from pipelines.prepare.items import sample_id
from pipelines.prepare.parts import PIXELS, parquet, put_part
from pipelines.sources.archive import Archive, ArchiveEntry
from xmodal.transforms import BadImage, PixelSettings, PreparedImage, prepare_image

READERS = 16
"""Reads in flight of one worker: they hide the store's latency."""
AHEAD_BYTES = 256_000_000
"""Bytes of files that one worker holds ahead of the one it decodes; a single larger file is read alone."""

OUTCOMES = pa.schema(
    [
        ("key", pa.string()),
        ("reason", pa.string()),  # null = the file gave a row
        ("detail", pa.string()),
        ("sha256", pa.binary(32)),
        ("magic", pa.string()),
        ("exif_turn", pa.int32()),
        ("infrared", pa.bool_()),  # measured from the pixels
    ]
)
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Unchanged:
    """Files of which the parent version knows what reading them gives: outcomes by key, and entries of the pixel parts
    that hold the rows of those that were images."""

    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)

    def rows(self, home: Store) -> dict[str, dict[str, Any]]:
        """PIXELS rows by key. A part that is not what its entry says gives none: its files are read again."""
        found = {}
        for part in self.parts:
            data = home.read(part["path"]) if home.head(part["path"]) else b""
            if hashlib.sha256(data).hexdigest() == part["sha256"]:
                table = pq.read_table(pa.BufferReader(data), schema=PIXELS)
                found |= {row["key"]: row for row in table.to_pylist() if row["key"] in self.outcomes}
        return found


@dataclass(frozen=True)
class PixelTask:
    """One item to read: its files with their media ids, sorted by key, and those that need no reading."""

    item: str
    survey: str
    archive: Store
    home: Store
    receipt: Store
    files: list[tuple[ArchiveEntry, str]]
    settings: PixelSettings
    unchanged: Unchanged = Unchanged()


@dataclass(frozen=True)
class PixelReceipt:
    """What became of an item: the entry of its part (None where no file was readable) and OUTCOMES."""

    item: str
    part: dict[str, Any] | None
    outcomes: pa.Table

    def to_bytes(self) -> bytes:
        return parquet(self.outcomes.replace_schema_metadata({"item": self.item, "part": json.dumps(self.part)}))

    @classmethod
    def from_bytes(cls, data: bytes) -> "PixelReceipt":
        facts = pq.read_schema(pa.BufferReader(data)).metadata
        table = pq.read_table(pa.BufferReader(data), schema=OUTCOMES)  # null where an older run knew less
        return cls(facts[b"item"].decode(), json.loads(facts[b"part"]), table)


class ReadPixels:
    """Turns a PixelTask into its receipt's bytes. Safe to repeat: equal bytes go to equal names."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(READERS)

    def __call__(self, task: PixelTask) -> bytes:
        outcomes: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for media_id, outcome, row in self._files(task):
            outcomes.append(outcome)
            rows += [row | {"sample_id": sample_id(task.survey, media_id)}] if row else []
        receipt = PixelReceipt(task.item, self._put(task, rows), pa.Table.from_pylist(outcomes, OUTCOMES))
        data = receipt.to_bytes()
        task.receipt.put(f"{task.item}.parquet", data)
        return data

    def _files(self, task: PixelTask) -> Iterator[tuple[str, dict[str, Any], dict[str, Any] | None]]:
        """Media id, outcome, and the row of an image, of every file; those that the parent knows are not read."""
        copied = task.unchanged.rows(task.home)
        known = {key: one for key, one in task.unchanged.outcomes.items() if one["reason"] or key in copied}
        archive = Archive(task.archive)
        new = [entry for entry, _ in task.files if entry.key not in known]
        contents = ahead(self._pool, lambda entry: _read(archive, entry), new, READERS, lambda entry: entry.size)
        for entry, media_id in task.files:
            if entry.key in known:
                yield media_id, known[entry.key], copied.get(entry.key)
                continue
            outcome, image = prepared(entry.key, next(contents), task.settings)
            yield media_id, outcome, _row(outcome, image) if image else None

    def _put(self, task: PixelTask, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
        if not rows:
            return None
        data = parquet(pa.Table.from_pylist(rows, PIXELS), large=("image",))
        return put_part(
            task.home, f"pixels/{task.survey}", task.item, data, len(rows), item=task.item, survey=task.survey
        )


def prepared(key: str, data: bytes | None, settings: PixelSettings) -> tuple[dict[str, Any], PreparedImage | None]:
    """An OUTCOMES row for a file's bytes (None: it is not there), and its pixels where it is an image."""
    outcome: dict[str, Any] = {"key": key, "sha256": hashlib.sha256(data).digest() if data is not None else None}
    try:
        image = prepare_image(data, settings)
    except BadImage as bad:
        return outcome | {"reason": bad.reason, "detail": bad.detail[:200]}, None
    return outcome | {"magic": image.format, "exif_turn": image.exif_turn, "infrared": image.infrared}, image


def _read(archive: Archive, entry: ArchiveEntry) -> bytes | None:
    """None for a file that vanished after it was listed; an archive that cannot be reached stops the run."""
    try:
        return archive.read(entry)
    except NotFound:
        return None


def _row(outcome: dict[str, Any], image: PreparedImage) -> dict[str, Any]:
    return {
        "key": outcome["key"],
        "image": image.jpeg,
        "width": image.width,
        "height": image.height,
        "infrared": image.infrared,
        "source_sha256": outcome["sha256"],
    }


def ahead(
    pool: ThreadPoolExecutor,
    function: Callable[[In], Out],
    items: Iterable[In],
    window: int,
    weight: Callable[[In], int],
    most: int = AHEAD_BYTES,
) -> Iterator[Out]:
    """Results in order, ahead of the consumer by at most `window` calls, whose items weigh `most` together (or one
    item, which may weigh more)."""
    waiting: deque[tuple[int, Future[Out]]] = deque()
    for item in items:
        size = weight(item)
        while waiting and (len(waiting) >= window or sum(held for held, _ in waiting) + size > most):
            yield waiting.popleft()[1].result()
        waiting.append((size, pool.submit(function, item)))
    while waiting:
        yield waiting.popleft()[1].result()
