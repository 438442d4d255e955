"""MegaDetector results JSON, format 1.0 to 1.6, laid over another source's media by their path in the archive.

An empty list of detections means that the detector ran and found nothing; a failure or a null list means that nobody
knows: such a file gets no row. Videos (1.4 and later: `frame_rate`, or detections with a `frame_number`) are no images.
Boxes name no species; where a classifier went over them, its classes are labels of a machine of their own.
"""

from dataclasses import replace
from typing import Any, Literal

import pyarrow as pa

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.detector import CLASSIFIED_FROM, BoxReader, DetectorFile, weak
from pipelines.sources.joining import Join, with_detections, with_signs
from pipelines.sources.machine_classes import SILENT, Labels, Scored
from pipelines.sources.megadetector_classes import ClassReader, Names, class_reader
from pipelines.sources.reading import read_json, read_list
from pipelines.sources.rows import Rows, mappings, number
from pipelines.sources.schema import DETECTIONS, Refused, Survey

CLASSIFIER = "megadetector_classifier"
"""Origin of the classes. They are another machine's word than the boxes, whose verdict is "megadetector"."""
_NAMES = {"1": "animal", "2": "person", "3": "vehicle"}
"""The categories of a file that names none (the oldest ones)."""


class MegaDetector(DetectorFile):
    """A detector's results over the survey's own files."""

    kind: Literal["megadetector"]
    names: Names | None = None
    """What classes are that may be scientific or common names by their form; only a file that has such needs it."""

    def read(self, store: Store, survey: Survey) -> Survey:
        """`survey` with this file's detections and classes; what earlier overlays say of other files stays, and so do
        the classes of any file where this one has none at all.

        Raises DataRefused where the file is no such format or none of its entries is in the survey, and
        infra.storage.NotFound.
        """
        name = f"{store.url}/{self.path}"
        document = read_json(store, self.path)
        _check_version(document, name)
        entries = read_list(store, self.path, document, "images")
        refused = Refused()
        join = Join(survey, self.images_prefix, self.cut_prefix, store.hosts, refused)
        categories = document.get("detection_categories")
        classes = class_reader(name, document, self.names)
        boxes = self.boxes(categories if isinstance(categories, dict) else _NAMES, classes.surest, refused)
        labels = Labels(survey, CLASSIFIER)
        table = self._table(entries, join, boxes, classes, labels)
        join.check(name)
        refused.extend(survey.refused)
        survey = with_signs(with_detections(survey, table), boxes.signs.table())
        return replace(labels.laid_over(survey), refused=refused)

    def _table(
        self, entries: list[Any], join: Join, boxes: BoxReader, classes: ClassReader, labels: Labels
    ) -> pa.Table:
        rows = Rows(DETECTIONS, boxes.refused)
        for entry in mappings(entries, boxes.refused, "images"):
            detections, path = entry.get("detections"), join.path(entry.get("file"))
            boxes.sign(path, detections)
            if _is_video(entry):
                boxes.refused.add("video", f"{path!s:.80}")
            elif (key := join.key(entry.get("file"))) is None:
                continue
            elif entry.get("failure") or not isinstance(detections, list):
                boxes.refused.add("detector_failed", key)
            else:
                rows.add(**boxes.row(key, detections))
                found = self._found(key, detections, classes, boxes.refused)
                if classes.names:
                    labels.add(key, found)
        return rows.table()

    def _found(self, key: str, detections: list[Any], classes: ClassReader, refused: Refused) -> list[Scored]:
        """The class of each box. A blank box says nothing of an image with another one that was not classified."""
        boxes = [one for one in detections if not weak(one, self.least)]
        found = [classes.surest(one, key, refused) if isinstance(one, dict) else None for one in boxes]
        said = [one for one in found if one is not None]
        unseen = [one for one, own in zip(boxes, found, strict=True) if own is None and not weak(one, CLASSIFIED_FROM)]
        if said and unseen and all(one.type in SILENT for one, _ in said):
            refused.add("not_classified", key)
            return []
        return said


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
