"""MegaDetector results JSON, format 1.0 to 1.6, laid over another source's media by their path in the archive.

An empty list of detections means that the detector ran and found nothing; a failure or a null list means that nobody
knows: such a file gets no row.
"""

from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.boxes import relative_box
from pipelines.sources.reading import BadPath, archive_key, read_json, read_list
from pipelines.sources.rows import Rows, mappings, number, text
from pipelines.sources.schema import DETECTIONS, Refused, Survey
from xmodal.settings import Settings

_NAMES = {"1": "animal", "2": "person", "3": "vehicle"}
"""The categories of a file that names none (the oldest ones)."""
_CLASSES = {"person": "human", "people": "human"}


class MegaDetector(Settings):
    """A detector's results over the survey's own files."""

    kind: Literal["megadetector"]
    path: str
    """Key of the results JSON in the archive."""
    images_prefix: str = ""
    """Folder of the archive that `file` is relative to."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Least confidence of a box that is kept; without it all that the file holds."""
    max_boxes: int = Field(default=100, ge=1)
    """Most boxes kept for one image, the most confident ones."""

    def read(self, store: Store, survey: Survey) -> Survey:
        """`survey` with this file's detections; those of an earlier overlay stay for the files this one does not name.

        Raises DataRefused where the file is no such format or none of its entries is in the survey, and
        infra.storage.NotFound.
        """
        name = f"{store.url}/{self.path}"
        document = read_json(store, self.path)
        _check_version(document, name)
        entries = read_list(store, self.path, document, "images")
        refused = Refused()
        categories = document.get("detection_categories")
        table = self._table(entries, categories if isinstance(categories, dict) else _NAMES, survey, refused)
        self._check_joined(name, entries, refused)
        refused.extend(survey.refused)
        named = set(table["key"].to_pylist())
        kept = survey.detections.filter(
            pa.array((key not in named for key in survey.detections["key"].to_pylist()), pa.bool_())
        )
        return replace(survey, detections=pa.concat_tables([kept, table]), refused=refused)

    def _table(self, entries: list[Any], categories: dict[str, str], survey: Survey, refused: Refused) -> pa.Table:
        rows = Rows(DETECTIONS)
        known: set[str] = set(survey.media["key"].to_pylist())
        seen: set[str] = set()
        for entry in mappings(entries, refused, "images"):
            key = self._key(entry, known, seen, refused)
            if key is not None:
                seen.add(key)
                self._add(rows, key, entry, categories, refused)
        return rows.table()

    def _key(self, entry: dict[str, Any], known: set[str], seen: set[str], refused: Refused) -> str | None:
        file = entry.get("file")
        try:
            key = archive_key(file.replace("\\", "/") if isinstance(file, str) else file, self.images_prefix)
            if key not in known:
                raise BadPath("no_such_media")
            if key in seen:
                raise BadPath("duplicate_entry")
        except BadPath as fault:
            refused.add(fault.reason, f"{file!s:.80}")
            return None
        return key

    def _add(self, rows: Rows, key: str, entry: dict[str, Any], categories: dict[str, str], refused: Refused) -> None:
        detections = entry.get("detections")
        if entry.get("failure") or not isinstance(detections, list):
            refused.add("detector_failed", key)
            return
        boxes = [self._read_box(detection, key, categories, refused) for detection in detections]
        found = sorted((box for box in boxes if box is not None), key=lambda box: -box[1])
        refused.counts += Counter({"too_many_boxes": max(0, len(found) - self.max_boxes)})
        columns = list(zip(*found[: self.max_boxes], strict=True)) or [[], [], []]
        rows.add(key=key, boxes=columns[0], confidences=columns[1], classes=columns[2])

    def _read_box(
        self, detection: object, key: str, categories: dict[str, str], refused: Refused
    ) -> tuple[list[float], float, str] | None:
        if not isinstance(detection, dict):
            refused.add("bad_box", key)
            return None
        confidence = number(detection.get("conf"))
        if confidence is None or not 0 <= confidence <= 1:
            refused.add("bad_confidence", key)
            return None
        category = text(detection.get("category")) or ""
        if (category == "0" and category not in categories) or confidence < (self.threshold or 0):
            return None
        box = relative_box(detection.get("bbox"), refused, key)
        name = str(categories.get(category, "unknown")).strip().lower()
        return None if box is None else (box, confidence, _CLASSES.get(name, name))

    def _check_joined(self, name: str, entries: list[Any], refused: Refused) -> None:
        unknown = refused.counts["no_such_media"]
        if unknown and unknown == len(entries):
            example = refused.examples["no_such_media"][0]
            raise DataRefused(f"{name}: none of its {unknown} files is in this survey, e.g. {example!r}; "
                              f"is images_prefix {self.images_prefix!r} right?")  # fmt: skip


def _check_version(document: dict[str, Any], name: str) -> None:
    """The oldest files state no version."""
    info = document.get("info")
    version = number(info.get("format_version", 1.0)) if isinstance(info, dict) else 1.0
    if version is None or not 1.0 <= version < 1.65:
        stated = info.get("format_version") if isinstance(info, dict) else None
        raise DataRefused(f"{name}: format_version {stated!r} is not one of MegaDetector's 1.0 to 1.6")
