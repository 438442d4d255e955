"""COCO Camera Traps JSON, the format of the public camera-trap sets (LILA), read by MegaDetector's integrity rules.

Top level: images, categories, annotations. Ids of images, sequences and places are unique within one dataset only.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from infra.storage import Store
from pipelines.sources.boxes import relative_box
from pipelines.sources.clock import read_clock
from pipelines.sources.labels import BAD, RANKS, observation_type, taxon
from pipelines.sources.reading import BadPath, archive_key, read_json, read_list
from pipelines.sources.rows import SurveyRows, flag, mappings, number, text, whole
from pipelines.sources.schema import Refused, Survey
from xmodal.settings import Settings


class CocoCameraTraps(Settings):
    """A COCO Camera Traps JSON and the images it names."""

    kind: Literal["coco_camera_traps"]
    metadata: str
    """Key of the JSON file in the archive."""
    images_prefix: str = ""
    """Folder of the archive that `file_name` is relative to."""

    def read(self, store: Store) -> Survey:
        """Reads the survey; refused rows are counted by reason. Raises DataRefused, infra.storage.NotFound."""
        document = read_json(store, self.metadata)
        images, categories, annotations = (
            read_list(store, self.metadata, document, name) for name in ("images", "categories", "annotations")
        )
        rows = SurveyRows()
        known = _Images(rows, self.images_prefix)
        for image in mappings(images, rows.refused, "images"):
            known.add(image)
        labels = _read_categories(categories, rows.refused)
        for annotation in mappings(annotations, rows.refused, "annotations"):
            _add_annotation(annotation, rows, known, labels)
        return rows.survey(f"{store.url}/{self.metadata}", len(images))


class _Images:
    """The images taken so far, by id, with their size in pixels where the file states it."""

    def __init__(self, rows: SurveyRows, prefix: str) -> None:
        self._rows = rows
        self._prefix = prefix
        self._keys: set[str] = set()
        self.sizes: dict[str, tuple[float, float] | None] = {}
        self.refused: set[str] = set()

    def add(self, image: dict[str, Any]) -> None:
        media_id, name = text(image.get("id")), image.get("file_name")
        try:
            key = archive_key(name.replace("\\", "/") if isinstance(name, str) else name, self._prefix)
            self._check_new(media_id, key)
        except BadPath as fault:
            self._rows.refused.add(fault.reason, f"{media_id}: {name!r:.80}")
            self.refused.add(media_id or "")
            return
        assert media_id is not None
        self._keys.add(key)
        width, height = number(image.get("width")), number(image.get("height"))
        self.sizes[media_id] = (width, height) if width and height and min(width, height) > 0 else None
        self._add_row(media_id, key, image)

    def _check_new(self, media_id: str | None, key: str) -> None:
        if media_id is None:
            raise BadPath("no_id")
        if media_id in self.sizes:
            raise BadPath("duplicate_id")
        if key in self._keys:
            raise BadPath("duplicate_file")

    def _add_row(self, media_id: str, key: str, image: dict[str, Any]) -> None:
        refused = self._rows.refused
        if "sequence" in image or "sequence_id" in image:
            refused.add("illegal_sequence_field", media_id)
        clock = read_clock(image.get("datetime") or image.get("date_captured"), refused)
        self._rows.media.add(
            media_id=media_id,
            key=key,
            place=text(image.get("location")),
            event_id=text(image.get("seq_id")),
            frame=whole(image.get("frame_num")),
            **clock.columns,
            corrupt=flag(image.get("corrupt")),
            rights_holder=text(image.get("rights_holder")),
        )


@dataclass(frozen=True)
class _Label:
    """What a category says of an image, as columns of OBSERVATIONS."""

    columns: dict[str, str | None]
    usable: bool


def _read_categories(categories: list[Any], refused: Refused) -> dict[str, _Label]:
    labels: dict[str, _Label] = {}
    for category in mappings(categories, refused, "categories"):
        identity = text(category.get("id"))
        if identity is None or identity in labels:
            refused.add("no_id" if identity is None else "duplicate_category", f"category {category.get('name')!r:.60}")
            continue
        labels[identity] = _read_category(category)
    return labels


def _read_category(category: dict[str, Any]) -> _Label:
    """A category without a scientific name keeps its label and has no taxon."""
    name, scientific = text(category.get("name")), text(category.get("scientific_name"))
    kind = observation_type(name, scientific)
    columns: dict[str, str | None] = {"type": kind, "label": name or scientific}
    if kind == "animal":
        columns["taxon"], columns["rank"] = taxon(scientific)
        lineage = {rank: category[rank] for rank in RANKS if isinstance(category.get(rank), str) and category[rank]}
        lineage.pop(columns["rank"] or "", None)
        columns["lineage"] = json.dumps(lineage) if lineage else None
        vernacular = name and name.lower() not in ("animal", (scientific or "").lower())
        columns["names"] = json.dumps({"eng": name}, ensure_ascii=False) if vernacular else None
    return _Label(columns, usable=(name or scientific or "#ref!").lower() not in BAD)


def _add_annotation(annotation: dict[str, Any], rows: SurveyRows, images: _Images, labels: dict[str, _Label]) -> None:
    image_id, category_id = text(annotation.get("image_id")), text(annotation.get("category_id"))
    label = labels.get(category_id or "")
    example = f"annotation {annotation.get('id')!r:.40} of image {image_id!r:.60}"
    if image_id not in images.sizes:
        rows.refused.add("annotation_of_refused_image" if image_id in images.refused else "unknown_image", example)
    elif label is None or not label.usable:
        rows.refused.add("unknown_category" if label is None else "bad_label", example)
    else:
        rows.observations.add(
            media_id=image_id,
            level="event" if annotation.get("sequence_level_annotation") is True else "media",
            count=whole(annotation.get("count"), least=1),
            box=_box(annotation, images.sizes[image_id], rows.refused, example),
            origin="coco_camera_traps",
            **label.columns,
        )


def _box(
    annotation: dict[str, Any], size: tuple[float, float] | None, refused: Refused, example: str
) -> list[float] | None:
    """A box that cannot be placed is counted and left out; the label stays."""
    absolute, relative = annotation.get("bbox"), annotation.get("bbox_relative")
    if absolute is not None and relative is not None:
        refused.add("two_boxes", example)
    elif relative is not None:
        return relative_box(relative, refused, example)
    elif absolute is not None and size is None:
        refused.add("box_without_image_size", example)
    elif absolute is not None and size is not None:
        return relative_box(absolute, refused, example, scale=size)
    return None
