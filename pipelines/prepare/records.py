"""Record parts: what is known of each image of a pixel part, row for row. No image byte is read to make one."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from infra.storage import Store
from pipelines.prepare import captions
from pipelines.prepare.attributes import Coder, Vocabulary, values
from pipelines.prepare.clocks import flags
from pipelines.prepare.digests import digest, settings_digest, share
from pipelines.prepare.facts import FACTS_VERSION, Medium, facts
from pipelines.prepare.incumbents import incumbents
from pipelines.prepare.parts import BOX_CLASSES, RECORDS, parquet, put_part, read_columns
from pipelines.prepare.settings import CaptionSettings, DataSettings
from pipelines.prepare.splits import Assigned, place_hash
from xmodal.transforms import PixelSettings, boxes_after

RECORDS_VERSION = 2
"""Raised when the same facts and settings give other records."""


@dataclass(frozen=True)
class RecordsTask:
    """The records of one pixel part: what is known of each of its keys, and the split each was given."""

    identity: str
    survey: str
    item: str
    home: Store
    receipt: Store
    pixel_part: str
    media: dict[str, Medium]
    splits: dict[str, Assigned]
    dates_only: bool
    vocabulary: Vocabulary
    captions: CaptionSettings
    pixels: PixelSettings
    threshold: float


def records_id(
    part: dict[str, Any], media: dict[str, Medium], splits: dict[str, Assigned], dates_only: bool, data: DataSettings
) -> str:
    """16 hex digits of everything that a record part is made of."""
    known = [[key, one.media, one.observations, one.detection, splits[key]] for key, one in sorted(media.items())]
    versions = [FACTS_VERSION, RECORDS_VERSION, captions.version()]
    settings = [settings_digest(data.captions), settings_digest(data.pixels), data.detector_threshold, dates_only]
    return digest(part["item"], part["sha256"], known, settings, versions)[:16]


class WriteRecords:
    """Turns a RecordsTask into the entry of its part, as JSON bytes. Safe to repeat."""

    def __call__(self, task: RecordsTask) -> bytes:
        pixels = read_columns(
            task.home, task.pixel_part, ["sample_id", "key", "width", "height", "infrared"]
        ).to_pylist()
        coder = Coder(task.vocabulary)
        rows = [record(row, task, coder) for row in pixels]
        data = parquet(pa.Table.from_pylist(rows, RECORDS))
        counts = {name: sum(row["split"] == name for row in rows) for name in sorted({row["split"] for row in rows})}
        facts_of = {"item": task.item, "survey": task.survey, "records_id": task.identity, "splits": counts}
        entry = put_part(task.home, f"records/{task.survey}", task.item, data, len(rows), **facts_of)
        receipt = json.dumps(entry).encode()
        task.receipt.put(f"{task.identity}.json", receipt)
        return receipt


def record(pixel: dict[str, Any], task: RecordsTask, coder: Coder) -> dict[str, Any]:
    """One RECORDS row; `pixel` holds what the pixel part says of the image beside its bytes."""
    medium = task.media[pixel["key"]]
    media = medium.media or {"media_id": pixel["key"]}
    trusted = not flags(media.get("captured_at"), task.dates_only)
    known = facts(medium, pixel["infrared"], trusted, task.threshold)
    texts = captions.own_captions(medium.captions) or captions.captions(
        known, pixel["sample_id"], task.captions.seed, coder, task.captions.says
    )
    split, reason = _used(task, pixel, known, texts)
    taxon = known.get("taxon", {"value": None, "rank": None})
    copied = ("media_id", "event_id", "deployment_id", "captured_at", "utc_offset", "licence", "rights_holder")
    return {
        **{name: media.get(name) for name in copied},
        **boxes(medium.detection, pixel["width"], pixel["height"], task.pixels),
        "sample_id": pixel["sample_id"],
        "survey": task.survey,
        "place": place_hash(task.survey, media["place"]) if media.get("place") is not None else None,
        "split": split,
        "split_reason": reason,
        "clock_trusted": trusted,
        "taxon": taxon["value"],
        "taxon_rank": taxon["rank"],
        "codes": coder.packed(values(known)),
        "captions": json.dumps(texts, ensure_ascii=False).encode() if texts else b"[]",
        "facts": json.dumps(known, ensure_ascii=False, sort_keys=True).encode(),
        "incumbents": incumbents(medium, task.threshold),
    }


def _used(task: RecordsTask, pixel: dict[str, Any], known: dict[str, Any], texts: list[Any]) -> Assigned:
    """The split given to the file, or none where it has no text or is one blank frame too many."""
    split, reason = task.splits[pixel["key"]]
    if split == "none":
        return split, reason
    if not texts:
        return "none", "no_caption"
    blank = known.get("type", {}).get("value") == "blank" and not task.media[pixel["key"]].captions
    if (
        blank
        and split == "train"
        and share(task.captions.seed, "kept", pixel["sample_id"]) >= task.captions.blank_share
    ):
        return "none", "blank_beyond_share"
    return split, reason


def boxes(detection: dict[str, Any] | None, width: int, height: int, pixels: PixelSettings) -> dict[str, Any]:
    """The box columns, in the geometry of the stored image; all null where no detector ran."""
    if detection is None:
        return {}
    found = np.array(detection["boxes"] or [], np.float32).reshape(-1, 4)
    placed, kept = boxes_after(pixels, found, width, height)
    order = {name: code for code, name in enumerate(BOX_CLASSES)}
    classes = [order.get(name, -1) for name in detection["classes"] or []]
    return {
        "n_boxes": len(placed),
        "boxes": placed.astype("<f4").tobytes(),
        "box_conf": np.array(detection["confidences"] or [], "<f4")[kept].tobytes(),
        "box_class": np.array(classes, "<i4")[kept].tobytes(),
    }
