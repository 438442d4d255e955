"""Pixel parts: the files of one item read, decoded and written, with an outcome for every file.

What the parent version found in an unchanged file is copied from its part; the archive is asked for new and changed
files alone. A bad file is an outcome and never an error. An item's receipt is written last; a run that finds it does
not read the item again.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from infra.parquet import read_parquet
from infra.storage import Store, Unreadable, Web, is_address
from pipelines.prepare.crops import box_name
from pipelines.prepare.items import sample_id
from pipelines.prepare.parts import PIXELS, parquet, put_part, with_new_columns
from pipelines.sources.archive import Archive, is_streamed
from pipelines.sources.members import ArchiveEntry, Content
from xmodal.crops import Box, prepare_crops
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
        ("look", pa.int64()),
        ("size_differs", pa.bool_()),  # null = no size is stated
    ]
)
In = TypeVar("In")
Out = TypeVar("Out")
Size = tuple[int, int]
"""Width and height in pixels."""
SAME_SHAPE = 0.02
"""By which the ratio of a frame's sides may differ from the stated one: a smaller copy is rounded to whole pixels."""


@dataclass(frozen=True)
class Unchanged:
    """Files of which the parent version knows what reading them gives: outcomes by key, and entries of the pixel parts
    that hold the rows of those that were images."""

    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)

    def rows(self, home: Store) -> dict[str, list[dict[str, Any]]]:
        """PIXELS rows by key. A part that is not what its entry says gives none: its files are read again."""
        found: dict[str, list[dict[str, Any]]] = {}
        for part in self.parts:
            data = home.read(part["path"]) if home.head(part["path"]) else b""
            if hashlib.sha256(data).hexdigest() == part["sha256"]:
                table = with_new_columns(read_parquet(data), PIXELS.names, PIXELS)
                for row in table.to_pylist():
                    if row["key"] in self.outcomes:
                        found.setdefault(row["key"], []).append(row)
        return found


class File(NamedTuple):
    """A file to read: where it lies, the id of its medium, the boxes to cut crops around (none: the whole frame), the
    size that the metadata state, and whether the boxes are of a frame of that size (labels'; a detector has seen it).
    """

    entry: ArchiveEntry
    media_id: str
    boxes: tuple[Box, ...] = ()
    stated: Size | None = None
    of_stated: bool = False


@dataclass(frozen=True)
class PixelTask:
    """One item to read: its files, sorted by key, and those that need no reading."""

    item: str
    survey: str
    archive: Store
    home: Store
    receipt: Store
    files: list[File]
    settings: PixelSettings
    unchanged: Unchanged = Unchanged()
    margin: float = 0.0
    """Of crops."""


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
        outcomes = with_new_columns(read_parquet(data), OUTCOMES.names, OUTCOMES)
        return cls(facts[b"item"].decode(), json.loads(facts[b"part"]), outcomes)


class ReadPixels:
    """Turns a PixelTask into its receipt's bytes. Safe to repeat: equal bytes go to equal names."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(READERS)

    def __call__(self, task: PixelTask) -> bytes:
        outcomes: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for media_id, outcome, own in self._files(task):
            outcomes.append(outcome)
            rows += [row | {"sample_id": sample_id(task.survey, media_id, row["crop"] or "")} for row in own]
        outcomes, rows = (sorted(some, key=lambda row: row["key"]) for some in (outcomes, rows))
        receipt = PixelReceipt(task.item, self._put(task, rows), pa.Table.from_pylist(outcomes, OUTCOMES))
        data = receipt.to_bytes()
        task.receipt.put(f"{task.item}.parquet", data)
        return data

    def _files(self, task: PixelTask) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
        """Media id, outcome, and the rows of an image, of every file; those that the parent knows are not read."""
        files = {file.entry.key: file for file in task.files}
        copied = task.unchanged.rows(task.home)
        known = {key: one for key, one in task.unchanged.outcomes.items() if one["reason"] or key in copied}
        yield from ((files[key].media_id, outcome, copied.get(key, [])) for key, outcome in known.items())
        new = [file.entry for key, file in files.items() if key not in known]
        for entry, data in self._contents(Archive(task.archive), new):
            file = files[entry.key]
            outcome, images = prepared(entry.key, data, file.boxes, task.margin, task.settings)
            crops = [box_name(box) for box in file.boxes] or [None]
            if images and file.stated:
                outcome["size_differs"] = file.stated != (images[0].width, images[0].height)
                if file.boxes and file.of_stated and _is_misplaced(file.stated, images[0]):
                    images, crops = prepared(entry.key, data, (), task.margin, task.settings)[1], [None]
            yield file.media_id, outcome, [_row(outcome, *one) for one in zip(images, crops, strict=False)]

    def _contents(self, archive: Archive, entries: list[ArchiveEntry]) -> Iterator[tuple[ArchiveEntry, Content]]:
        """Every file's content; members of compressed tars come last, in the order of their tar."""
        single = [entry for entry in entries if not is_streamed(entry)]
        ready = ahead(self._pool, archive.content, single, READERS, weight)
        yield from zip(single, ready, strict=True)
        yield from archive.streamed(entry for entry in entries if is_streamed(entry))

    def _put(self, task: PixelTask, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
        if not rows:
            return None
        data = parquet(pa.Table.from_pylist(rows, PIXELS), large=("image",))
        return put_part(
            task.home, f"pixels/{task.survey}", task.item, data, len(rows), item=task.item, survey=task.survey
        )


def weight(entry: ArchiveEntry) -> int:
    """Bytes that a file takes once it is read; where a web server states no size, as many as it could send."""
    return entry.size if entry.size or not is_address(entry.key) else Web.most_bytes


def _is_misplaced(stated: Size, image: PreparedImage) -> bool:
    """Whether boxes of a frame of the size `stated` lie elsewhere in this one: it is no scaled copy, mostly since the
    size is that before the EXIF turn."""
    return abs(stated[0] * image.height - stated[1] * image.width) > SAME_SHAPE * stated[1] * image.width


def prepared(
    key: str, data: Content, boxes: Sequence[Box], margin: float, settings: PixelSettings
) -> tuple[dict[str, Any], list[PreparedImage]]:
    """An OUTCOMES row for a file's content, and where it is an image its pixels, or those of its crops."""
    if isinstance(data, Unreadable):
        return {"key": key, "reason": data.reason, "detail": str(data)[:200]}, []
    outcome: dict[str, Any] = {"key": key, "sha256": hashlib.sha256(data).digest() if data is not None else None}
    try:
        images = prepare_crops(data, boxes, margin, settings) if boxes else [prepare_image(data, settings)]
    except BadImage as bad:
        return outcome | {"reason": bad.reason, "detail": bad.detail[:200]}, []
    image = images[0]
    seen = {"magic": image.format, "exif_turn": image.exif_turn, "infrared": image.infrared, "look": image.look}
    return outcome | seen, images


def _row(outcome: dict[str, Any], image: PreparedImage, crop: str | None) -> dict[str, Any]:
    return {
        "key": outcome["key"],
        "image": image.jpeg,
        "width": image.width,
        "height": image.height,
        "infrared": image.infrared,
        "source_sha256": outcome["sha256"],
        "crop": crop,
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
