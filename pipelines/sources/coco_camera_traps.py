"""COCO Camera Traps JSON, the format of the public camera-trap sets (LILA), read by MegaDetector's integrity rules.

Top level: images, categories, annotations. Ids of images, sequences and places are unique within one dataset only.
What breaks a rule and can still be read is kept and counted: numbers as ids or places, backslashes, a category id or
name used twice, width without height.
"""

import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from infra.storage import Store
from pipelines.sources.boxes import relative_box
from pipelines.sources.clock import Clock, read_clock
from pipelines.sources.coco import licence, licences
from pipelines.sources.labels import BAD, RANKS, LabelTypes, as_compared, observation_type, scientific
from pipelines.sources.reading import BadPath, archive_key, read_json, read_list
from pipelines.sources.rows import SurveyRows, flag, individuals, mappings, number, text, whole
from pipelines.sources.schema import PEOPLE, Refused, Survey
from xmodal.settings import Settings


class CocoCameraTraps(Settings):
    """A COCO Camera Traps JSON and the images it names."""

    kind: Literal["coco_camera_traps"]
    metadata: str
    """Key of the JSON file in the archive."""
    images_prefix: str = ""
    """Folder of the archive that `file_name` is relative to."""
    labels_of: Literal["image", "sequence"] = "image"
    """What an annotation without a box is about where it does not say: `sequence` for sets whose people labelled whole
    bursts and whose files lack `sequence_level_annotation`, as several public sets do."""
    language: str = Field(default="eng", pattern="^[a-z]{3}$")
    """Language of the categories' names, ISO 639-3."""
    types: LabelTypes = Field(default={})
    """Names of categories whose words we do not know, to what they mean: human, vehicle, blank, unknown, unclassified
    or animal, such as `{mtu: human}`. Case, accents and separators do not count."""

    def read(self, store: Store) -> Survey:
        """Reads the survey; refused rows are counted by reason. Raises DataRefused, infra.storage.NotFound."""
        rows = SurveyRows()
        document = read_json(store, self.metadata, rows.refused)
        images, categories, annotations = (
            read_list(store, self.metadata, document, name) for name in ("images", "categories", "annotations")
        )
        known = _Images(rows, self.images_prefix, store.hosts, licences(document))
        for image in mappings(images, rows.refused, "images"):
            known.add(image)
        labels = _read_categories(categories, self.language, as_compared(self.types), rows.refused)
        unsaid = {"image": "media", "sequence": "event"}[self.labels_of]
        for annotation in _unique(mappings(annotations, rows.refused, "annotations"), rows.refused):
            _add_annotation(annotation, rows, known, labels, unsaid)
        return rows.survey(f"{store.url}/{self.metadata}", len(images))


class _Images:
    """The images taken so far, by id, with their size in pixels where the file states it."""

    def __init__(self, rows: SurveyRows, prefix: str, hosts: Container[str], licences: dict[str, str]) -> None:
        self._rows = rows
        self._prefix, self._hosts = prefix, hosts
        self._licences = licences
        self._keys: set[str] = set()
        self.sizes: dict[str, tuple[float, float]] = {}
        self.taken: dict[str, str] = {}
        """Key of each image."""
        self.refused: set[str] = set()
        self.also: dict[str, list[str]] = {}
        """Keys that refused rows of an id name: what is said of their image is said of these files."""
        self.sequences: dict[str, str] = {}
        """Sequence of a refused row's id."""

    def add(self, image: dict[str, Any]) -> None:
        media_id, name, key = text(image.get("id")), image.get("file_name"), None
        try:
            path = name.replace("\\", "/") if isinstance(name, str) else name
            key = archive_key(path, self._prefix, self._hosts)
            self._check_new(media_id, key)
        except BadPath as fault:
            self._rows.refused.add(fault.reason, f"{media_id}: {name!r:.80}")
            self._refuse(media_id or "", key, text(image.get("seq_id")))
            return
        assert media_id is not None
        self._keys.add(key)
        self.taken[media_id] = key
        size = _size(image, media_id, self._rows.refused)
        if size is not None:
            self.sizes[media_id] = size
        self._add_row(media_id, key, image, size)

    def _refuse(self, media_id: str, key: str | None, sequence: str | None) -> None:
        self.refused.add(media_id)
        if media_id and key is not None:
            self.also.setdefault(media_id, []).append(key)
        if media_id and sequence is not None:
            self.sequences[media_id] = sequence

    def _check_new(self, media_id: str | None, key: str) -> None:
        if media_id is None:
            raise BadPath("no_id")
        if media_id in self.taken:
            raise BadPath("duplicate_id")
        if key in self._keys:
            raise BadPath("duplicate_file")

    def keys(self, media_id: str) -> list[str]:
        """The files that rows of this id name, taken or refused."""
        return [*([self.taken[media_id]] if media_id in self.taken else []), *self.also.get(media_id, [])]

    def _add_row(self, media_id: str, key: str, image: dict[str, Any], size: tuple[float, float] | None) -> None:
        width, height = size or (None, None)
        refused = self._rows.refused
        if "sequence" in image or "sequence_id" in image:
            refused.add("illegal_sequence_field", media_id)
        if image.get("location") is not None and text(image["location"]) is None:
            refused.add("bad_location", f"{media_id}: {image['location']!r:.60}")
        clock = _clock(image, refused, media_id)
        self._rows.media.add(
            media_id=media_id,
            key=key,
            place=text(image.get("location")),
            event_id=text(image.get("seq_id")),
            frame=whole(image.get("frame_num")),
            **clock.columns,
            corrupt=flag(image.get("corrupt")),
            licence=licence(image, self._licences),
            rights_holder=text(image.get("rights_holder")),
            width=whole(width, least=1),
            height=whole(height, least=1),
        )


def _size(image: dict[str, Any], media_id: str, refused: Refused) -> tuple[float, float] | None:
    """Width and height in pixels, where the file states both."""
    width, height = number(image.get("width")) or 0, number(image.get("height")) or 0
    if (width > 0) != (height > 0):
        refused.add("width_without_height", media_id)
    return (width, height) if width > 0 and height > 0 else None


def _clock(image: dict[str, Any], refused: Refused, media_id: str) -> Clock:
    """Of `datetime`, else `date_captured`; sets write "", "None" and NaN for a time that is not known."""
    clock = read_clock(image.get("datetime"), refused, about=media_id)
    return read_clock(image.get("date_captured"), refused, about=media_id) if clock == Clock() else clock


@dataclass(frozen=True)
class _Label:
    """What a category says of an image, as columns of OBSERVATIONS."""

    columns: dict[str, str | None]
    usable: bool
    kinds: set[str] = field(default_factory=set)
    """Of PEOPLE what this category, or another one of its id, is."""


def _read_categories(
    categories: list[Any], language: str, types: dict[str, str], refused: Refused
) -> dict[str, _Label]:
    labels: dict[str, _Label] = {}
    names: set[str | None] = set()
    for category in mappings(categories, refused, "categories"):
        identity = text(category.get("id"))
        label = _read_category(category, language, types)
        if identity is None or identity in labels:
            refused.add("no_id" if identity is None else "duplicate_category", f"category {category.get('name')!r:.60}")
            labels.get(identity or "", label).kinds.update(label.kinds)
            continue
        labels[identity] = label
        name = labels[identity].columns["label"]
        if name in names:
            refused.add("duplicate_category_name", f"category {identity}: {name!r:.60}")
        if identity == "0" and labels[identity].columns["type"] != "blank":
            refused.add("category_zero_not_empty", f"{name!r:.60}")
        names.add(name)
    return labels


def _read_category(category: dict[str, Any], language: str, types: dict[str, str]) -> _Label:
    """A category without a scientific name keeps its label and has no taxon."""
    name, taxon = text(category.get("name")), text(category.get("scientific_name"))
    kind = observation_type(name, taxon or text(category.get("genus")), types=types)
    columns: dict[str, str | None] = {"type": kind, "label": name or taxon}
    if kind == "animal":
        columns["taxon"], columns["rank"] = scientific(taxon)
        lineage = {rank: category[rank] for rank in RANKS if isinstance(category.get(rank), str) and category[rank]}
        lineage.pop(columns["rank"] or "", None)
        columns["lineage"] = json.dumps(lineage) if lineage else None
        vernacular = name and name.lower() not in ("animal", (taxon or "").lower())
        columns["names"] = json.dumps({language: name}, ensure_ascii=False) if vernacular else None
    return _Label(columns, (name or taxon or "#ref!").lower() not in BAD, {kind} & {*PEOPLE})


def _unique(annotations: Iterable[dict[str, Any]], refused: Refused) -> Iterator[dict[str, Any]]:
    """Leaves out an annotation that repeats another word by word; one that only shares its id is kept and counted."""
    seen: dict[str, dict[str, Any]] = {}
    for annotation in annotations:
        identity = text(annotation.get("id"))
        first = seen.setdefault(identity, annotation) if identity is not None else annotation
        if first is not annotation:
            refused.add("duplicate_annotation" if first == annotation else "duplicate_annotation_id", str(identity))
        if first is annotation or first != annotation:
            yield annotation


def _add_annotation(
    annotation: dict[str, Any], rows: SurveyRows, images: _Images, labels: dict[str, _Label], unsaid: str
) -> None:
    image_id, category_id = text(annotation.get("image_id")), text(annotation.get("category_id"))
    label = labels.get(category_id or "")
    example = f"annotation {annotation.get('id')!r:.40} of image {image_id!r:.60}"
    level = _level(annotation, unsaid)
    sequence = images.sequences.get(image_id or "") if level == "event" else None
    for kind in label.kinds if label else ():
        rows.sign(images.keys(image_id or ""), kind, sequence)
    if image_id not in images.taken:
        rows.refused.add("annotation_of_refused_image" if image_id in images.refused else "unknown_image", example)
    elif label is None or not label.usable:
        rows.refused.add("unknown_category" if label is None else "bad_label", example)
    else:
        rows.observations.add(
            media_id=image_id,
            level=level,
            count=individuals(annotation.get("count"), str(label.columns["type"]), rows.refused, example),
            box=_box(annotation, images.sizes.get(image_id), rows.refused, example),
            origin="coco_camera_traps",
            **label.columns,
        )


def _level(annotation: dict[str, Any], unsaid: str) -> str:
    """A box is of one image; else what the annotation says, `unsaid` where it says nothing."""
    of_sequence = flag(annotation.get("sequence_level_annotation"))
    boxed = annotation.get("bbox") is not None or annotation.get("bbox_relative") is not None
    if of_sequence is None:
        return "media" if boxed else unsaid
    return "event" if of_sequence else "media"


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
