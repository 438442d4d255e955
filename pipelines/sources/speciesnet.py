"""SpeciesNet predictions JSON, up to 4.x and from 5.x, laid over another source's media by their path in the archive.

Up to 4.x an image has one `prediction`; from 5.x (`info.format_version` 20261015) each detection that was classified
has a `processed_classification` of its own, and an image without one of at least 0.1 has none: nothing was found.
Detector categories are 1 animal, 2 human, 3 vehicle; 0 is the whole image and no box. A failed CLASSIFIER leaves no
label. A failed DETECTOR leaves no boxes and, from 5.x, no label: there was nothing to classify. A `prediction` stays:
it is of the whole image. A failed GEOLOCATION only widens the classes.
Source: github.com/google/cameratrapai, speciesnet 4.0.3 and 5.0.6.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from infra.storage import Store
from pipelines.sources.detector import CLASSIFIED_FROM, BoxReader, DetectorFile, share, weak
from pipelines.sources.joining import Join, with_detections, with_signs
from pipelines.sources.machine_classes import Labels, MachineClass, Scored
from pipelines.sources.reading import read_json, read_list
from pipelines.sources.rows import Rows, mappings
from pipelines.sources.schema import DETECTIONS, PEOPLE, Refused, Survey
from pipelines.sources.speciesnet_classes import read_class

ORIGIN = "speciesnet"
CATEGORIES = {"1": "animal", "2": "human", "3": "vehicle"}


class SpeciesNet(DetectorFile):
    """A classifier's labels, and the boxes they were made on, over the survey's own files."""

    kind: Literal["speciesnet"]

    def read(self, store: Store, survey: Survey) -> Survey:
        """`survey` with this file's labels and boxes; what earlier overlays say of other files stays.

        Raises DataRefused where the file is no such format or none of its entries is in the survey, and
        infra.storage.NotFound.
        """
        name = f"{store.url}/{self.path}"
        entries = read_list(store, self.path, read_json(store, self.path), "predictions")
        refused = Refused()
        join = Join(survey, self.images_prefix, self.cut_prefix, store.hosts, refused)
        boxes = self.boxes(CATEGORIES, _class, refused)
        detections, labels, classifies = Rows(DETECTIONS, refused), Labels(survey, ORIGIN), _classifies(entries)
        for entry in mappings(entries, refused, "predictions"):
            path, key = join.path(entry.get("filepath")), join.key(entry.get("filepath"))
            found = self._found(key or path or "", entry, classifies, Refused() if key is None else refused)
            boxes.sign(path, entry.get("detections"))
            if key is not None:
                _add_boxes(detections, boxes, key, entry)
                labels.add(key, found)
            elif path is not None:
                _sign(boxes.signs, path, found)
        join.check(name)
        refused.extend(survey.refused)
        survey = with_signs(with_detections(survey, detections.table()), boxes.signs.table())
        return replace(labels.laid_over(survey), refused=refused)

    def _found(self, key: str, entry: dict[str, Any], classifies: bool, refused: Refused) -> list[Scored]:
        """What the classifier says of an image; `classifies`: whether the file shows that it ran."""
        if "CLASSIFIER" in failures(entry):
            refused.add("classifier_failed", key)
            return []
        if "prediction" in entry:
            return _scored(entry["prediction"], entry.get("prediction_score"), key, refused)
        return [] if "DETECTOR" in failures(entry) else self._of_boxes(entry, key, classifies, refused)

    def _of_boxes(self, entry: dict[str, Any], key: str, classifies: bool, refused: Refused) -> list[Scored]:
        """From 5.x: the classes of the detections; a blank where there was none to classify."""
        written = entry.get("detections")
        boxes = [one for one in written if not weak(one, self.least)] if isinstance(written, list) else []
        classified = [one for one in boxes if _is_classified(one)]
        unseen = not classified and not all(weak(one, CLASSIFIED_FROM) for one in boxes)
        if unseen or not classifies or not isinstance(written, list):
            refused.add("not_classified", key)
            return []
        if not classified:
            return [(MachineClass("blank", "blank", {}, None), None)]
        return [found for one in classified for found in _processed(one, key, refused)]


def _classifies(entries: Sequence[Any]) -> bool:
    """Whether a file shows that the classifier ran: it classified a box, or an entry has the `model_version` that only
    a run of all parts writes. A detector's run alone finds no blanks."""
    rows = [entry for entry in entries if isinstance(entry, dict)]
    lists = [row["detections"] for row in rows if isinstance(row.get("detections"), list)]
    return any("model_version" in row for row in rows) or any(_is_classified(box) for found in lists for box in found)


def _is_classified(detection: object) -> bool:
    return isinstance(detection, dict) and "processed_classification" in detection


def failures(entry: dict[str, Any]) -> set[str]:
    """Names of the parts of SpeciesNet that failed on an image."""
    written = entry.get("failures")
    return {str(name).upper() for name in written} if isinstance(written, list) else set()


def _sign(signs: Rows, key: str, found: Sequence[Scored]) -> None:
    """Of a file that is no medium, or that an earlier entry named: the people in it."""
    for one, _ in found:
        if one.type in PEOPLE:
            signs.add(key=key, kind=one.type)


def _class(detection: dict[str, Any]) -> Scored | None:
    return next(iter(_processed(detection, "", Refused())), None)


def _processed(detection: dict[str, Any], key: str, refused: Refused) -> list[Scored]:
    """The class of a box, from 5.x."""
    written = detection.get("processed_classification")
    made = written if isinstance(written, dict) else {}
    return _scored(made.get("class"), made.get("score"), key, refused)


def _scored(written: object, score: object, key: str, refused: Refused) -> list[Scored]:
    """One class with its score; none, and counted, where either cannot be read."""
    found, confidence = read_class(written), share(score)
    if found is None or confidence is None:
        refused.add("bad_class" if found is None else "bad_confidence", f"{key}: {written!s:.80}")
        return []
    return [(found, confidence)]


def _add_boxes(rows: Rows, boxes: BoxReader, key: str, entry: dict[str, Any]) -> None:
    """A whole image that only the classifier saw tells nothing of boxes."""
    written = entry.get("detections")
    if "DETECTOR" in failures(entry):
        boxes.refused.add("detector_failed", key)
    elif isinstance(written, list) and not any(map(_classifier_only, written)):
        rows.add(**boxes.row(key, written))


def _classifier_only(detection: object) -> bool:
    return isinstance(detection, dict) and str(detection.get("category")) == "0" and not _is_classified(detection)
