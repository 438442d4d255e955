"""Which crops are made of a frame: one around each animal that its metadata place, in place of the frame itself.

A label of people that comes with a box of its own places its animal; else boxes of machines of at least the threshold
do, those of labels in the archive before a detector's overlay. A frame of which no box of an animal is known stays
whole, so nothing that is listed is lost. What a label says of a box decides nothing here: a changed label reads no
file again, a changed box does.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from pipelines.prepare.facts import Medium
from pipelines.prepare.precedence import Observation
from xmodal.crops import Box
from xmodal.settings import Settings


class CropSettings(Settings):
    """Crops of single animals as training images."""

    margin: float = Field(default=0.1, ge=0, le=2)
    """Share of a box's longer side by which a crop is larger at each end. Crops are square where the frame has room."""
    most: int = Field(default=10, ge=1)
    """Most crops of a frame, of its most confident boxes."""


def crop_boxes(medium: Medium, settings: CropSettings | None, threshold: float) -> tuple[Box, ...]:
    """The distinct boxes that a frame is cut around, none where it stays whole."""
    if settings is None:
        return ()
    found = label_boxes(medium, threshold) or _detected(medium.detection, threshold)
    return tuple(dict.fromkeys(found))[: settings.most]


def label_boxes(medium: Medium, threshold: float) -> list[Box]:
    """Of the animals that labels place: those of people, else those of machines, the most confident first."""
    placed = [row for row in medium.observations if row["type"] == "animal" and row["box"]]
    people = [row for row in placed if row["method"] != "machine"]
    machines = sorted((row for row in placed if _confidence(row) >= threshold), key=_confidence, reverse=True)
    return [_rounded(row["box"]) for row in people or machines]


def _confidence(row: Observation) -> float:
    """Of a label; one that states none is taken for certain."""
    return 1.0 if row["confidence"] is None else row["confidence"]


def _detected(detection: dict[str, Any] | None, threshold: float) -> list[Box]:
    """In the order of their confidence, as a DETECTIONS row has them."""
    columns = [detection[name] or [] for name in ("boxes", "confidences", "classes")] if detection else [[], [], []]
    boxes = zip(*columns, strict=True)
    return [_rounded(box) for box, confidence, kind in boxes if kind == "animal" and confidence >= threshold]


def _rounded(box: Iterable[float]) -> Box:
    """To four digits, as detectors write them and names of samples keep them."""
    left, top, width, height = (round(float(value), 4) for value in box)
    return left, top, max(width, 1e-4), max(height, 1e-4)


def box_name(box: Box) -> str:
    """As samples are named: x,y,width,height."""
    return ",".join(f"{value:.4f}" for value in box)


def named_box(name: str) -> Box:
    left, top, width, height = map(float, name.split(","))
    return left, top, width, height


def about_crop(medium: Medium, crop: str) -> Medium:
    """What is known of one crop: labels of its own box, and of the frame. Their counts are of more than the crop."""
    rows = [
        row | {"count": None}
        for row in medium.observations
        if row["box"] is None or box_name(_rounded(row["box"])) == crop
    ]
    return Medium(medium.media, rows, medium.detection)
