"""Pixel parts: the files of one item read, decoded and written, with an outcome for every file.

A bad file is an outcome and never an error. An item's receipt is written last; a run that finds it does not read the
item again.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from infra.storage import Store, Unreadable
from pipelines.prepare.items import sample_id
from pipelines.prepare.parts import PIXELS, parquet, put_part
from pipelines.sources.archive import Archive, is_streamed
from pipelines.sources.members import ArchiveEntry, Content
from xmodal.transforms import BadImage, PixelSettings, PreparedImage, prepare_image

READERS = 16
"""Reads in flight of one worker: they hide the store's latency and bound the bytes held."""

OUTCOMES = pa.schema(
    [
        ("key", pa.string()),
        ("reason", pa.string()),  # null = the file gave a row
        ("detail", pa.string()),
        ("sha256", pa.binary(32)),
        ("magic", pa.string()),
        ("exif_turn", pa.int32()),
    ]
)
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class PixelTask:
    """One item to read: its files with their media ids, sorted by key."""

    item: str
    survey: str
    archive: Store
    home: Store
    receipt: Store
    files: list[tuple[ArchiveEntry, str]]
    settings: PixelSettings


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
        table = pq.read_table(pa.BufferReader(data))
        facts = table.schema.metadata
        return cls(facts[b"item"].decode(), json.loads(facts[b"part"]), table)


class ReadPixels:
    """Turns a PixelTask into its receipt's bytes. Safe to repeat: equal bytes go to equal names."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(READERS)

    def __call__(self, task: PixelTask) -> bytes:
        archive = Archive(task.archive)
        outcomes: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        media_ids = {entry.key: media_id for entry, media_id in task.files}
        for entry, data in self._contents(archive, [entry for entry, _ in task.files]):
            outcome, image = prepared(entry.key, data, task.settings)
            outcomes.append(outcome)
            rows += [_row(task.survey, media_ids[entry.key], outcome, image)] if image else []
        outcomes, rows = (sorted(some, key=lambda row: row["key"]) for some in (outcomes, rows))
        receipt = PixelReceipt(task.item, self._put(task, rows), pa.Table.from_pylist(outcomes, OUTCOMES))
        data = receipt.to_bytes()
        task.receipt.put(f"{task.item}.parquet", data)
        return data

    def _contents(self, archive: Archive, entries: list[ArchiveEntry]) -> Iterator[tuple[ArchiveEntry, Content]]:
        """Every file's content; members of compressed tars come last, in the order of their tar."""
        single = [entry for entry in entries if not is_streamed(entry)]
        yield from zip(single, ahead(self._pool, archive.content, single, READERS), strict=True)
        yield from archive.streamed(entry for entry in entries if is_streamed(entry))

    def _put(self, task: PixelTask, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
        if not rows:
            return None
        data = parquet(pa.Table.from_pylist(rows, PIXELS), large=("image",))
        return put_part(
            task.home, f"pixels/{task.survey}", task.item, data, len(rows), item=task.item, survey=task.survey
        )


def prepared(key: str, data: Content, settings: PixelSettings) -> tuple[dict[str, Any], PreparedImage | None]:
    """An OUTCOMES row for a file's content, and its pixels where it is an image."""
    if isinstance(data, Unreadable):
        return {"key": key, "reason": data.reason, "detail": str(data)[:200]}, None
    outcome: dict[str, Any] = {"key": key, "sha256": hashlib.sha256(data).digest() if data is not None else None}
    try:
        image = prepare_image(data, settings)
    except BadImage as bad:
        return outcome | {"reason": bad.reason, "detail": bad.detail[:200]}, None
    return outcome | {"magic": image.format, "exif_turn": image.exif_turn}, image


def _row(survey: str, media_id: str, outcome: dict[str, Any], image: PreparedImage) -> dict[str, Any]:
    return {
        "sample_id": sample_id(survey, media_id),
        "key": outcome["key"],
        "image": image.jpeg,
        "width": image.width,
        "height": image.height,
        "infrared": image.infrared,
        "source_sha256": outcome["sha256"],
    }


def ahead(pool: ThreadPoolExecutor, function: Callable[[In], Out], items: Iterable[In], window: int) -> Iterator[Out]:
    """Results in order, at most `window` calls ahead of the consumer."""
    waiting: deque[Future[Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
