"""MegaDetector results JSON, format 1.0 to 1.6, laid over another source's media by their path in the archive.

An empty list of detections means that the detector ran and found nothing; a failure or a null list means that nobody
knows: such a file gets no row. Videos (1.4 and later: `frame_rate`, or detections with a `frame_number`) are no images.
"""

from dataclasses import replace
from typing import Any, Literal

import pyarrow as pa

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.detector import BoxReader, DetectorFile
from pipelines.sources.joining import Join, with_detections, with_signs
from pipelines.sources.reading import read_json, read_list
from pipelines.sources.rows import Rows, mappings, number
from pipelines.sources.schema import DETECTIONS, Refused, Survey

_NAMES = {"1": "animal", "2": "person", "3": "vehicle"}
"""The categories of a file that names none (the oldest ones)."""


class MegaDetector(DetectorFile):
    """A detector's results over the survey's own files."""

    kind: Literal["megadetector"]

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
        join = Join(survey, self.images_prefix, self.cut_prefix, refused)
        categories = document.get("detection_categories")
        names = categories if isinstance(categories, dict) else _NAMES
        boxes = self.boxes(names, refused)
        table = self._table(entries, join, boxes)
        join.check(name)
        refused.extend(survey.refused)
        return replace(with_signs(with_detections(survey, table), boxes.signs.table()), refused=refused)

    def _table(self, entries: list[Any], join: Join, boxes: BoxReader) -> pa.Table:
        rows = Rows(DETECTIONS)
        for entry in mappings(entries, boxes.refused, "images"):
            detections = entry.get("detections")
            boxes.sign(join.path(entry.get("file")), detections)
            if _is_video(entry):
                boxes.refused.add("video", f"{entry.get('file')!s:.80}")
            elif (key := join.key(entry.get("file"))) is None:
                continue
            elif entry.get("failure") or not isinstance(detections, list):
                boxes.refused.add("detector_failed", key)
            else:
                rows.add(**boxes.row(key, detections))
        return rows.table()


def _is_video(entry: dict[str, Any]) -> bool:
    detections = entry.get("detections")
    framed = isinstance(detections, list) and any(isinstance(one, dict) and "frame_number" in one for one in detections)
    return framed or entry.get("frame_rate") is not None or entry.get("frames_processed") is not None


def _check_version(document: dict[str, Any], name: str) -> None:
    """The oldest files state no version; 1.6 asks for a string, earlier writers also wrote numbers."""
    info = document.get("info")
    version = number(info.get("format_version", 1.0)) if isinstance(info, dict) else 1.0
    if version is None or not 1.0 <= version < 1.65:
        stated = info.get("format_version") if isinstance(info, dict) else None
        raise DataRefused(f"{name}: format_version {stated!r} is not one of MegaDetector's 1.0 to 1.6")
