"""Stored images by their place in the version: a row group of a pixel part is read by range, and some stay at hand."""

from functools import lru_cache
from threading import Lock
from typing import Any

import pyarrow as pa

from pipelines.dataset import Dataset
from pipelines.prepare.parts import BOX_CLASSES, boxes_of
from pipelines.train.order import GROUP_ROWS

GROUPS = 128
"""Row groups kept, of 128 images each: with 10 kB an image some 160 MB."""
BOXES = ["n_boxes", "boxes", "box_conf", "box_class"]


class Pictures:
    """JPEGs and boxes of a version. A dataset's open files are of one thread at a time."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._lock = dataset, Lock()
        self._group = lru_cache(GROUPS)(self._read)

    def _read(self, item: int, group: int, part: str, columns: tuple[str, ...]) -> pa.Table:
        return self._dataset.read_group(item, group, part, list(columns))

    def _row(self, item: int, row: int, part: str, *columns: str) -> dict[str, Any]:
        with self._lock:
            table = self._group(item, row // GROUP_ROWS, part, columns)
        (found,) = table.slice(row % GROUP_ROWS, 1).to_pylist()
        return found

    def jpeg(self, item: int, row: int) -> bytes:
        """As it is stored, without EXIF."""
        return self._row(item, row, "pixels", "image")["image"]

    def size(self, item: int, row: int) -> tuple[int, int]:
        """Width and height of the original, whose proportions a square stored image has lost."""
        found = self._row(item, row, "pixels", "width", "height")
        return found["width"], found["height"]

    def stored(self, item: int, row: int, part: str, column: str) -> bytes:
        """What the image encoder takes."""
        return self._row(item, row, part, column)[column]

    def boxes(self, item: int, row: int) -> list[dict[str, Any]] | None:
        """x, y, width, height relative to the image, confidence and class; None where no detector ran."""
        found = self._row(item, row, "records", *BOXES)
        if found["n_boxes"] is None:
            return None
        return [
            {"box": place, "confidence": one, "class": BOX_CLASSES[kind] if kind >= 0 else "other"}
            for place, one, kind in zip(*(part.tolist() for part in boxes_of(found)), strict=True)
        ]
