"""Record parts: what is known of each image of a pixel part, row for row. No image byte is read to make one."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from infra.storage import Store
from pipelines.prepare import captions
from pipelines.prepare.assigned import Assigned
from pipelines.prepare.attributes import Coder, Vocabulary, values
from pipelines.prepare.clocks import trusts
from pipelines.prepare.crops import CropSettings, about_crop, named_box
from pipelines.prepare.digests import digest, settings_digest, share
from pipelines.prepare.event_labels import kept_back
from pipelines.prepare.facts import FACTS_VERSION, Medium, facts
from pipelines.prepare.incumbents import incumbents
from pipelines.prepare.language import version
from pipelines.prepare.lexicon import Lexicon
from pipelines.prepare.parts import BOX_CLASSES, PIXELS, RECORDS, parquet, put_part, read_columns
from pipelines.prepare.settings import CaptionSettings, DataSettings
from pipelines.prepare.units import place_hash
from xmodal.crops import crop_window, within_window
from xmodal.transforms import FRAME, PixelSettings, boxes_after

RECORDS_VERSION = 3
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
    place_names: str
    splits: dict[str, Assigned]
    clock_flags: dict[str, str | None]
    """As the ledger has them."""
    vocabulary: Vocabulary
    lexicon: Lexicon
    captions: CaptionSettings
    pixels: PixelSettings
    crops: CropSettings | None
    threshold: float
    undetected: bool
    """Whether labels of events reach frames that no detector ran on."""


def records_id(
    part: dict[str, Any],
    media: dict[str, Medium],
    splits: dict[str, Assigned],
    clock_flags: dict[str, str | None],
    data: DataSettings,
    lexicon: Lexicon,
) -> str:
    """16 hex digits of everything that a record part is made of."""
    known = [
        [key, one.media, one.observations, one.detection, splits[key], clock_flags[key]]
        for key, one in sorted(media.items())
    ]
    versions = [FACTS_VERSION, RECORDS_VERSION, version(data.captions.languages), lexicon.meanings, lexicon.species]
    settings = [
        settings_digest(data.captions),
        settings_digest(data.pixels),
        data.detector_threshold,
        data.event_labels,
    ]
    settings += [settings_digest(data.crops)] if data.crops else []
    settings += [one.places_of for one in data.surveys if one.name == part["survey"] and one.places_of is not None]
    return digest(part["item"], part["sha256"], known, settings, versions)[:16]


class WriteRecords:
    """Turns a RecordsTask into the entry of its part, as JSON bytes. Safe to repeat."""

    def __call__(self, task: RecordsTask) -> bytes:
        pixels = read_columns(
            task.home, task.pixel_part, ["sample_id", "key", "width", "height", "infrared", "crop"], PIXELS
        ).to_pylist()
        coder = Coder(task.vocabulary)
        rows = [record(row, task, coder) for row in pixels]
        data = parquet(pa.Table.from_pylist(rows, RECORDS))
        counted = {name: Counter(row[name] for row in rows if row[name]) for name in ("split", "split_reason")}
        counts = {f"{name}s": dict(sorted(own.items())) for name, own in counted.items()}
        facts_of = {"item": task.item, "survey": task.survey, "records_id": task.identity} | counts
        entry = put_part(task.home, f"records/{task.survey}", task.item, data, len(rows), **facts_of)
        receipt = json.dumps(entry).encode()
        task.receipt.put(f"{task.identity}.json", receipt)
        return receipt


def record(pixel: dict[str, Any], task: RecordsTask, coder: Coder) -> dict[str, Any]:
    """One RECORDS row; `pixel` holds what the pixel part says of the image beside its bytes."""
    medium = task.media[pixel["key"]]
    medium = about_crop(medium, pixel["crop"]) if pixel["crop"] else medium
    media = medium.media or {"media_id": pixel["key"]}
    trusted = media.get("captured_at") is not None and trusts(task.clock_flags[pixel["key"]])
    known = facts(medium, pixel["infrared"], trusted, task.threshold, task.undetected)
    recorded = values(known) | task.lexicon.recorded(known.get("taxon"))
    shown = captions.Shown(known, recorded, pixel["sample_id"], task.captions.seed, task.captions.says, task.lexicon)
    own = captions.own_captions(medium.captions)
    texts = own or captions.captions(shown, task.captions.languages, coder)
    split, reason = _used(task, pixel, known, texts)
    taxon = known.get("taxon", {"value": None, "rank": None})
    copied = ("media_id", "event_id", "deployment_id", "captured_at", "utc_offset", "licence", "rights_holder")
    return {
        **{name: media.get(name) for name in copied},
        **boxes(medium.detection, pixel, task),
        "sample_id": pixel["sample_id"],
        "survey": task.survey,
        "place": place_hash(task.place_names, media["place"]) if media.get("place") is not None else None,
        "split": split,
        "split_reason": reason,
        "clock_trusted": trusted,
        "taxon": taxon["value"],
        "taxon_rank": taxon["rank"],
        "codes": coder.packed(recorded),
        "captions": json.dumps(texts, ensure_ascii=False).encode() if texts else b"[]",
        "facts": json.dumps(known, ensure_ascii=False, sort_keys=True).encode(),
        "incumbents": incumbents(medium, task.threshold),
        "crop": pixel["crop"],
    }


def _used(task: RecordsTask, pixel: dict[str, Any], known: dict[str, Any], texts: list[Any]) -> Assigned:
    """The split given to the file, or none where it has no text or is one blank frame too many."""
    split, reason = task.splits[pixel["key"]]
    if split == "none":
        return split, reason
    if not texts:
        medium = task.media[pixel["key"]]
        return "none", kept_back(medium.observations, medium.detection) or "no_caption"
    blank = known.get("type", {}).get("value") == "blank" and not task.media[pixel["key"]].captions
    if (
        blank
        and split == "train"
        and share(task.captions.seed, "kept", pixel["sample_id"]) >= task.captions.blank_share
    ):
        return "none", "blank_beyond_share"
    return split, reason


def boxes(detection: dict[str, Any] | None, pixel: dict[str, Any], task: RecordsTask) -> dict[str, Any]:
    """The box columns, in the geometry of the stored image; all null where no detector ran."""
    if detection is None:
        return {}
    shown, width, height = FRAME, pixel["width"], pixel["height"]
    if pixel["crop"] and task.crops:
        shown = crop_window(named_box(pixel["crop"]), task.crops.margin, task.pixels.min_side, width, height)
    found = within_window(np.array(detection["boxes"] or [], np.float32), shown)
    placed, kept = boxes_after(task.pixels, found, round(shown[2] * width), round(shown[3] * height))
    order = {name: code for code, name in enumerate(BOX_CLASSES)}
    classes = [order.get(name, -1) for name in detection["classes"] or []]
    return {
        "n_boxes": len(placed),
        "boxes": placed.astype("<f4").tobytes(),
        "box_conf": np.array(detection["confidences"] or [], "<f4")[kept].tobytes(),
        "box_class": np.array(classes, "<i4")[kept].tobytes(),
        "box_taxon": _box_taxon(detection.get("taxa"), kept),
    }


def _box_taxon(taxa: list[str | None] | None, kept: np.ndarray) -> bytes | None:
    """What a classifier says of each kept box: a JSON list of {"type", "label", "taxon", "rank", "confidence"}, with
    null for a box that it gave no class; null where it gave none any."""
    shown = [one for one, inside in zip(taxa, kept, strict=True) if inside] if taxa else []
    return f"[{', '.join(one or 'null' for one in shown)}]".encode() if any(shown) else None
