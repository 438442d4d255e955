"""iNaturalist 2018 (https://github.com/visipedia/inat_comp/tree/master/2018): species photographs, one label an image.

The annotation files were published with obfuscated names; the true ones came later as `categories.json`, which takes
the place of their `categories`. There are no places, times or events in them, so a split by place gives no guarantee.
What is no animal (plants, fungi ...) keeps its name and has the type unknown: Camtrap DP has no type for it.
"""

import json
from collections.abc import Container, Iterator
from typing import Any, Literal

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.coco import licence, licences
from pipelines.sources.labels import RANKS, observation_type, taxon
from pipelines.sources.reading import BadPath, archive_key, iterate, read_any_json, read_json, read_list
from pipelines.sources.rows import SurveyRows, mappings, text
from pipelines.sources.schema import Refused, Survey
from pipelines.sources.tables import read_table
from xmodal.settings import Settings

Columns = dict[str, str | None]
_LEAST_NAMED = 0.5
"""Share of the categories whose names must have the form of a species; of obfuscated names none has."""


class INaturalist(Settings):
    """The annotation files of a set in iNaturalist 2018's form, and its images."""

    kind: Literal["inaturalist"]
    train: str
    """Key of the training annotations, `train2018.json`."""
    val: str
    """Key of the validation annotations, `val2018.json`."""
    test: str | None = None
    """Key of the test images, `test2018.json`, which have no labels."""
    categories: str | None = None
    """Key of the true names: `categories.json`, or a CSV with category_id (or id), name, kingdom to genus and, where
    known, common_name. Without it those in `train`."""
    images_prefix: str = ""
    """Folder of the archive that `file_name` is relative to."""

    def read(self, store: Store) -> Survey:
        """Reads the set; refused rows are counted by reason. Raises DataRefused, infra.storage.NotFound."""
        rows = SurveyRows()
        known = _read_categories(store, self.categories or self.train, rows.refused)
        keys: set[str] = set()
        offered = 0
        for split, key in (("train", self.train), ("val", self.val), ("test", self.test)):
            if key is not None:
                document = read_json(store, key, rows.refused)
                images = read_list(store, key, document, "images")
                labelled = split != "test" and read_list(store, key, document, "annotations")
                named = _Named(split, self.images_prefix, store.hosts)
                _add_images(rows, images, licences(document), named, keys)
                _add_annotations(rows, labelled or [], named, known)
                offered += len(images)
        return rows.survey(f"{store.url}/{self.train}", offered)


class _Named:
    """The images of one split's file by id: `taken` to the media id, `also` to the keys that refused rows of the id
    name. Their paths are relative to `prefix`, or addresses of `hosts`."""

    def __init__(self, split: str, prefix: str, hosts: Container[str]) -> None:
        self.split, self.prefix, self.hosts = split, prefix, hosts
        self.taken: dict[str, str] = {}
        self.refused: set[str | None] = set()
        self.also: dict[str, list[str]] = {}


def _add_images(rows: SurveyRows, images: list[Any], known: dict[str, str], named: _Named, keys: set[str]) -> None:
    """Ids are unique within one file: a media id is `split-id`. `keys`: those that the files before have taken."""
    split = named.split
    for image in mappings(images, rows.refused, f"images of {split}"):
        identity, key = text(image.get("id")), None
        try:
            key = archive_key(image.get("file_name"), named.prefix, named.hosts)
            if identity is None or identity in named.taken or identity in named.refused or key in keys:
                known_id = identity in named.taken or identity in named.refused
                raise BadPath("no_id" if identity is None else "duplicate_id" if known_id else "duplicate_file")
        except BadPath as fault:
            rows.refused.add(fault.reason, f"{split} {identity}: {image.get('file_name')!r:.80}")
            named.refused.add(identity)
            if identity is not None and key is not None:
                named.also.setdefault(identity, []).append(key)
            continue
        keys.add(key)
        media_id = named.taken[identity] = f"{split}-{identity}"
        holder = text(image.get("rights_holder"))
        rows.media.add(media_id=media_id, key=key, split=split, licence=licence(image, known), rights_holder=holder)


def _add_annotations(rows: SurveyRows, annotations: list[Any], named: _Named, known: dict[str, Columns]) -> None:
    for annotation in mappings(annotations, rows.refused, "annotations"):
        image_id, category = text(annotation.get("image_id")), text(annotation.get("category_id"))
        example = f"annotation {annotation.get('id')!r:.40} of image {image_id!r:.60}"
        media_id, label = named.taken.get(image_id or ""), known.get(category or "")
        if label is not None:
            rows.sign(named.also.get(image_id or "", []), str(label["type"]))
        if media_id is None:
            rows.refused.add("annotation_of_refused_image" if image_id in named.refused else "unknown_image", example)
        elif label is None:
            rows.refused.add("unknown_category", example)
        else:
            if label["type"] == "unknown":
                rows.refused.add("not_an_animal", f"{label['label']}")
            rows.observations.add(media_id=media_id, level="media", method="human", origin="inaturalist", **label)


def _read_categories(store: Store, key: str, refused: Refused) -> dict[str, Columns]:
    """Category id to columns of OBSERVATIONS. Raises DataRefused where the names are not those of species."""
    found: dict[str, Columns] = {}
    for category in _stated_categories(store, key, refused):
        identity, name = text(category.get("category_id", category.get("id"))), text(category.get("name"))
        if identity is None or name is None or identity in found:
            refused.add("duplicate_category" if identity in found else "no_id", f"category {identity}: {name!r:.60}")
            continue
        found[identity] = category_columns(name, category)
    named = sum(columns["rank"] in ("species", "subspecies") for columns in found.values())
    if named < _LEAST_NAMED * len(found) or not found:
        example = next(iter(found.values()), {"label": None})["label"]
        raise DataRefused(f"{store.url}/{key}: its category names are obfuscated, e.g. {example!r:.60}; set "
                          "`categories` to the set's un-obfuscated categories.json or to a CSV of them")  # fmt: skip
    return found


def _stated_categories(store: Store, key: str, refused: Refused) -> Iterator[dict[str, Any]]:
    if not key.lower().endswith(".json"):
        yield from iterate(read_table(store, key, refused, needed=("name", "kingdom")))
        return
    document = read_any_json(store, key, refused)
    whole = document if isinstance(document, dict) else {"categories": document}
    yield from mappings(read_list(store, key, whole, "categories"), refused, "categories")


def category_columns(name: str, category: dict[str, Any]) -> Columns:
    """A category as columns of OBSERVATIONS. The rank is what the form of the name shows: `Salix ×fragilis`, a hybrid,
    has none."""
    written, rank = taxon(name)
    lineage = {higher: value for higher in RANKS if higher != rank and (value := text(category.get(higher)))}
    common = text(category.get("common_name"))
    return {
        "type": _kind(name, lineage),
        "label": name,
        "taxon": written,
        "rank": rank,
        "lineage": json.dumps(lineage, ensure_ascii=False) if lineage else None,
        "names": json.dumps({"eng": common}, ensure_ascii=False) if common else None,
    }


def _kind(name: str, lineage: dict[str, str]) -> str:
    if observation_type(name) == "human":
        return "human"
    return "animal" if lineage.get("kingdom") == "Animalia" else "unknown"
