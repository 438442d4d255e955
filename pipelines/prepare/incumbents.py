"""What machines said of a frame, whether or not it became a label: what a trained model is compared with.

RECORDS' column `incumbents` is a UTF-8 JSON list of {"origin", "type", "taxon", "rank", "lineage", "confidence"}; null
where no machine spoke. `origin` is the source or overlay that brought it. `lineage` is {rank: name} with the taxon's
own rank. A detector's boxes are one entry of origin "megadetector" (SpeciesNet's boxes are MegaDetector's): the type
of its verdict at `data.detector_threshold`, with the confidence of the surest box of that type, null for blank. The
classes that a MegaDetector file gives boxes are another machine's, of origin "megadetector_classifier".
"""

import json
from typing import Any

from pipelines.prepare.facts import Medium, lineage
from pipelines.prepare.precedence import TYPES

DETECTOR = "megadetector"


def incumbents(medium: Medium, threshold: float) -> bytes | None:
    """The column's value for one frame."""
    said = [_entry(row) for row in medium.observations if row["method"] == "machine" and row["caption"] is None]
    said.sort(key=lambda one: (one["origin"], one["type"], one["taxon"] or "", -(one["confidence"] or 0)))
    said += [verdict(medium.detection, threshold)] if medium.detection is not None else []
    return json.dumps(said, ensure_ascii=False).encode() if said else None


def verdict(detection: dict[str, Any], threshold: float) -> dict[str, Any]:
    """The detector's word on the frame: the first of animal, human, vehicle with a box of at least `threshold`, else
    blank. Boxes of other classes count for nothing."""
    boxes = list(zip(detection["classes"] or [], detection["confidences"] or [], strict=True))
    surest = {name: max((score for own, score in boxes if own == name), default=None) for name in TYPES}
    found = next((name for name in TYPES if (surest[name] or 0) >= threshold and surest[name] is not None), "blank")
    nothing = {"taxon": None, "rank": None, "lineage": {}}
    return {"origin": DETECTOR, "type": found, **nothing, "confidence": _rounded(surest[found])}


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    taxon = {"taxon": row["taxon"], "rank": row["rank"], "lineage": lineage(row)}
    return {"origin": row["origin"], "type": row["type"], **taxon, "confidence": _rounded(row["confidence"])}


def _rounded(confidence: float | None) -> float | None:
    """As written: the columns hold float32."""
    return None if confidence is None else round(confidence, 6)
