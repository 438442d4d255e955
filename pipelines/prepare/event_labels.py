"""Labels of a whole event: an animal that a burst showed need not be in each of its frames.

Such a label reaches a frame only where a detector ran and found an animal in it. A frame in which the detector found
none gets no text: it is no recorded blank either, since nobody looked at it and detectors miss animals. Where no
detector ran, `data.event_labels` decides. Blanks reach all frames: what is empty as a whole is empty in every part.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.errors import DataRefused
from pipelines.prepare.assigned import Reason
from pipelines.prepare.precedence import winning

WITHOUT_BOX: Reason = "event_label_without_box"
WITHOUT_DETECTOR: Reason = "event_label_without_detector"

Row = dict[str, Any]


def reaching(rows: Sequence[Row], detection: Row | None, threshold: float, undetected: bool) -> list[Row]:
    """The OBSERVATIONS rows that are about this frame; `detection` is its DETECTIONS row, null = no detector ran, and
    `undetected` whether labels of events reach such frames."""
    shown = undetected if detection is None else finds_animal(detection, threshold)
    if shown or not any(map(is_of_event, rows)):
        return list(rows)
    return [row for row in rows if row["level"] != "event" or row["type"] not in ("animal", "blank")]


def is_of_event(row: Row) -> bool:
    """Whether a label says that an animal was in the event, and not in which frame."""
    return row["level"] == "event" and row["type"] == "animal"


def finds_animal(detection: Row, threshold: float) -> bool:
    """Whether the detector has an animal box of at least `threshold`."""
    boxes = zip(detection["classes"] or [], detection["confidences"] or [], strict=True)
    return any(name == "animal" and confidence >= threshold for name, confidence in boxes)


def kept_back(rows: Sequence[Row], detection: Row | None) -> Reason | None:
    """Why a frame without a text has none, where the reason is a label of its event: the one that would name it, were
    it not kept back. One that a correction silences would not."""
    labels = [row for row in rows if row["caption"] is None]
    if not any(is_of_event(row) for row in winning(labels)):
        return None
    return WITHOUT_DETECTOR if detection is None else WITHOUT_BOX


def check_labels(labelled: int, undetected: int) -> None:
    """Raises DataRefused where labels of events are all that an archive has, before any image is read for them."""
    if labelled and labelled == undetected:
        raise DataRefused(f"no label reaches an image: {advice(undetected)}")


def check_counts(splits: Mapping[str, int], reasons: Mapping[str, int]) -> None:
    """Raises DataRefused where nothing is left to train or validate with because no detector ran. `splits`: images by
    split, `reasons`: images by split_reason."""
    count = reasons.get(WITHOUT_DETECTOR, 0)
    if count and not (splits.get("train") and splits.get("val")):
        raise DataRefused(f"no image with a text to train or validate with: {advice(count)}")


def advice(count: int) -> str:
    """What to do where labels of events do not reach `count` images for want of a detector."""
    return (
        f"{count:,} images are labelled by their event alone and no detector ran on them, so no label reaches them: "
        "add MegaDetector's results as an overlay (data.event_labels: always would teach empty frames as animals)"
    )
