"""A detector's boxes of one image as a row of DETECTIONS: checked, named, the most confident ones kept."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from pipelines.sources.boxes import relative_box
from pipelines.sources.labels import BLANK, observation_type
from pipelines.sources.machine_classes import Scored, box_taxon
from pipelines.sources.rows import Rows, number, text
from pipelines.sources.schema import PEOPLE, SIGNS, Refused
from xmodal.settings import Settings

_NOTHING = BLANK | {"whole_image_classification"}
"""Categories that are no box of anything: the "0" that some writers use for empty, SpeciesNet's whole image."""
CLASSIFIED_FROM = 0.1
"""Confidence from which SpeciesNet 5 and MegaDetector's scripts classify a detection, by default."""
Classify = Callable[[dict[str, Any]], Scored | None]
"""The class that a classifier gave a detection; null where it gave none that can be read."""


@dataclass(frozen=True)
class BoxReader:
    """Reads lists of {"category", "conf", "bbox"}; `categories` gives a category's name."""

    categories: Mapping[str, Any]
    classify: Classify
    threshold: float
    most: int
    refused: Refused
    signs: Rows = field(default_factory=lambda: Rows(SIGNS))

    def row(self, key: str, detections: list[Any]) -> dict[str, Any]:
        """The columns of a DETECTIONS row. Counts bad_box, bad_confidence, empty_box, clipped_box, too_many_boxes."""
        boxes = [self._read(detection, key) for detection in detections]
        found = sorted((box for box in boxes if box is not None), key=lambda box: -box[1])
        self.refused.counts += Counter({"too_many_boxes": max(0, len(found) - self.most)})
        columns = list(zip(*found[: self.most], strict=True)) or [[], [], [], []]
        row = {"key": key, "boxes": columns[0], "confidences": columns[1], "classes": columns[2]}
        return row | {"taxa": columns[3] if any(columns[3]) else None}

    def sign(self, key: str | None, detections: object) -> None:
        """Notes for privacy the surest box of each kind of PEOPLE in a file, by its category or by its class, whatever
        becomes of its boxes and whether or not it is a medium. One without a readable confidence is sure."""
        surest: dict[str, float] = {}
        for detection in detections if isinstance(detections, list) else ():
            for name, confidence in self._shown(detection) if isinstance(detection, dict) else ():
                surest[name] = max(surest.get(name, 0), 1 if confidence is None else confidence)
        for name, confidence in surest.items() if key is not None else ():
            if name in PEOPLE and confidence >= self.threshold:
                self.signs.add(key=key, kind=name, confidence=confidence)

    def _shown(self, detection: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
        """What is in a box, with how sure that is, by its category and by its class."""
        yield self._class(detection), share(detection.get("conf"))
        classified = None if weak(detection, self.threshold) else self.classify(detection)
        if classified is not None:
            yield classified[0].type, classified[1]

    def _read(self, detection: object, key: str) -> tuple[list[float], float, str, str | None] | None:
        if not isinstance(detection, dict):
            self.refused.add("bad_box", key)
            return None
        confidence = share(detection.get("conf"))
        if confidence is None:
            self.refused.add("bad_confidence", key)
            return None
        name = self._class(detection)
        if name in _NOTHING or confidence < self.threshold:
            return None
        box = relative_box(detection.get("bbox"), self.refused, key)
        return None if box is None else (box, confidence, name, self._taxon(detection))

    def _taxon(self, detection: dict[str, Any]) -> str | None:
        found = self.classify(detection)
        return None if found is None else json.dumps(box_taxon(found), ensure_ascii=False)

    def _class(self, detection: dict[str, Any]) -> str:
        """human or vehicle where its category's name means that, else the name itself."""
        category = text(detection.get("category")) or ""
        unnamed = "empty" if category == "0" else "unknown"
        name = str(self.categories.get(category, unnamed)).strip().lower() or "unknown"
        kind = observation_type(name)
        return kind if kind in PEOPLE else name


class DetectorFile(Settings):
    """A JSON file of boxes, laid over a survey's own files."""

    path: str
    """Key of the JSON in the archive."""
    images_prefix: str = ""
    """Folder of the archive that the file's paths of images are relative to."""
    cut_prefix: str = ""
    """Folder that these paths begin with where they were written, e.g. `C:/surveys/2026`; it is cut off."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Least confidence of a box that is kept, and whose class counts; without it all that the file holds."""
    max_boxes: int = Field(default=100, ge=1)
    """Most boxes kept for one image, the most confident ones."""

    def boxes(self, categories: Mapping[str, Any], classify: Classify, refused: Refused) -> BoxReader:
        """What reads the file's boxes; `categories` gives a category's name."""
        return BoxReader(categories, classify, self.least, self.max_boxes, refused)

    @property
    def least(self) -> float:
        """The threshold, 0 where none is set."""
        return self.threshold or 0


def share(value: object) -> float | None:
    """A number from 0 to 1, else null."""
    parsed = number(value)
    return parsed if parsed is not None and 0 <= parsed <= 1 else None


def weak(detection: object, least: float) -> bool:
    """Whether a box is surely below a confidence; one that cannot be read may be of anything."""
    confidence = share(detection.get("conf")) if isinstance(detection, dict) else None
    return confidence is not None and confidence < least
