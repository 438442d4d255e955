"""Which crops are made of a frame: one around each animal that its metadata place, in place of the frame itself.

A label that comes with a box of its own places its animal; else the detector's animal boxes of at least the threshold
do. A frame of which no box of an animal is known stays whole, so nothing that is listed is lost. What a label says of a
box decides nothing here: a changed label reads no file again, a changed box does.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from pipelines.prepare.facts import Medium
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
    return tuple(dict.fromkeys(label_boxes(medium) or _detected(medium.detection, threshold)))[: settings.most]


def label_boxes(medium: Medium) -> list[Box]:
    """Of the animals that labels place."""
    return [_rounded(row["box"]) for row in medium.observations if row["type"] == "animal" and row["box"]]


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
