"""Answers as MegaDetector results, format 1.6, as Timelapse and MegaDetector's own tools read them.

Boxes are the detector's where one ran; else an animal is a box around the whole frame. An animal's boxes carry the
answer as their class, at whatever rank it has; what is left to people carries none. A frame that is called blank has no
box of ours. Source: github.com/agentmorris/MegaDetector, megadetector-output-format.md.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.predictions.ladder import ANIMAL, BLANK, Ladder
from pipelines.predictions.made_by import Maker
from pipelines.predictions.whole import Whole
from pipelines.prepare.parts import BOX_CLASSES, boxes_of
from xmodal.metrics.classification import RANKS

FILE = "megadetector.json"
DETECTIONS = {"1": "animal", "2": "person", "3": "vehicle"}
WHOLE_FRAME = [0.0, 0.0, 1.0, 1.0]
Row = dict[str, Any]


class MegaDetectorFile:
    """One JSON document, written entry by entry: it is never in memory as a whole."""

    def __init__(self, folder: Path, maker: Maker, ladder: Ladder) -> None:
        self._classes = Classes(ladder)
        self._whole = Whole(folder / FILE)
        self._text = self._whole.text()
        self._between = ""
        head = {"info": info(maker), "detection_categories": DETECTIONS,
                "classification_categories": self._classes.names,
                "classification_category_descriptions": self._classes.descriptions}  # fmt: skip
        self._text.write(json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}") + ',\n "images": [')

    def frames(self, rows: pa.Table) -> None:
        """Crops of one frame stand together and are one entry."""
        for file, own in groupby(rows.to_pylist(), key=lambda row: row["file"]):
            entry = self._entry(file, list(own))
            self._text.write(f"{self._between}\n  {json.dumps(entry, ensure_ascii=False)}")
            self._between = ","

    def events(self, rows: pa.Table) -> None:
        """The format knows no events."""

    def finish(self) -> list[str]:
        self._text.write("\n ]\n}\n")
        return [self._whole.keep()]

    def _entry(self, file: str, rows: list[Row]) -> Row:
        if (reason := rows[0]["refused"]) is not None:
            return {"file": file, "failure": f"image access failure: {reason}", "detections": None}
        found = [one for row in rows for one in self._detections(row)]
        return {"file": file, "detections": sorted(found, key=lambda one: -one["conf"])}

    def _detections(self, row: Row) -> list[Row]:
        """Of a crop the box that it was cut around, of a frame all boxes."""
        said = self._classes.of(row)
        if row["crop"] is not None:
            return [_box("1", row["confidence"], [float(side) for side in row["crop"].split(",")], said)]
        boxes = detected(row)
        if row["type"] != BLANK and not any(category == "1" for category, _, _ in boxes):
            boxes.append(("1", row["animal_confidence"], WHOLE_FRAME))
        return [_box(*one, said if one[0] == "1" else []) for one in boxes]


def _box(category: str, confidence: float | None, box: list[float], said: list[list[Any]]) -> Row:
    found = {"category": category, "conf": _rounded(1.0 if confidence is None else confidence), "bbox": box}
    return found | ({"classifications": said} if said else {})


def detected(row: Row) -> list[tuple[str, float, list[float]]]:
    """Category, confidence and box of what a detector found; boxes of classes that the format has no category for are
    left out."""
    if not row["n_boxes"]:
        return []
    boxes, sure, kinds = boxes_of(row)
    found = zip(kinds.tolist(), sure.tolist(), boxes.round(4).tolist(), strict=True)
    return [(str(kind + 1), conf, box) for kind, conf, box in found
            if 0 <= kind < len(BOX_CLASSES)]  # fmt: skip


def _rounded(confidence: float) -> float:
    return round(float(confidence), 4)


class Classes:
    """All that an answer can say, numbered from 1."""

    def __init__(self, ladder: Ladder) -> None:
        every = [*((rank, name) for rank in RANKS for name in ladder.names[rank]), (ANIMAL, ANIMAL), (BLANK, BLANK)]
        self._ids = {one: str(number) for number, one in enumerate(every, start=1)}
        self.names = {number: name for (_, name), number in self._ids.items()}
        self.descriptions = {number: describe(ladder, *one) for one, number in self._ids.items()}

    def of(self, row: Row) -> list[list[Any]]:
        """`classifications` of an answer: one pair, or none where it is left to people."""
        name = row["taxon"] or row["common_name"] or row["type"]
        number = self._ids.get((row["rank"] or row["type"], name))
        return [] if number is None else [[number, _rounded(row["confidence"])]]


def describe(ladder: Ladder, rank: str, name: str) -> str:
    """SpeciesNet's class string, `uuid;class;order;family;genus;species;common name`, without a uuid."""
    if rank not in RANKS:
        return f";;;;;;{name}"
    steps = ladder.lineage(rank, name)
    facts = ladder.taxa[name] if rank == "species" else {"value": name, "names": {}}
    above = [steps.get(one, "").lower() for one in ("class", "order", "family", "genus")]
    epithet = name.partition(" ")[2].lower() if rank == "species" and facts["value"] else ""
    return ";".join(["", *above, epithet, facts["names"].get("eng", "" if facts["value"] else name)])


def info(maker: Maker) -> Row:
    """The format's own fields, and which model, dataset version and recipe classified."""
    return {
        "format_version": "1.6",
        "detector": "boxes of the dataset, else whole frames",
        "detector_metadata": {"megadetector_version": "unknown", "typical_detection_threshold": 0.2,
                              "conservative_detection_threshold": 0.05},
        "detection_completion_time": maker.at,
        "classifier": maker.model,
        "classification_completion_time": maker.at,
        "classifier_metadata": maker.document,
    }  # fmt: skip
