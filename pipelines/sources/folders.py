"""Images in folders and nothing else: a folder a species, a bare folder without labels, folders of places.

Everything known of a file is in its key. The archive is listed for it, tars and all; a container counts as a folder of
its name, so `Vulpes vulpes.tar` holds foxes. Only files with an image's extension are media; the ledger has the others
as not_image.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.archive import Archive
from pipelines.sources.formats import EXTENSIONS
from pipelines.sources.labels import BAD, LabelTypes, as_compared, observation_type, taxon
from pipelines.sources.reading import folder
from pipelines.sources.rows import SurveyRows
from pipelines.sources.schema import Refused, Survey
from xmodal.settings import Settings

Part = Callable[[list[str], str, Refused], str | None]
"""Something that a file's folders say: (folders, key, refused) to text."""
_CONTAINER = re.compile(r"\.(tar|zip|tgz|tar\.\w+)!$", re.IGNORECASE)
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
           "test": "test", "testing": "test"}  # fmt: skip


class Folders(Settings):
    """Image files whose folders say what they show."""

    kind: Literal["folders"]
    images_prefix: str = ""
    """Folder of the archive below which levels are counted; without it the archive's top."""
    labels: Literal["folder", "none"] = "folder"
    """`none` for files that nobody has labelled."""
    label_level: int = -1
    """Which folder of a file is its label: -1 the one it lies in, 0 the first below `images_prefix`."""
    names: Literal["scientific", "common"] | None = None
    """What labels in the form of a genus or species are: `Vulpes vulpes` and `Red fox` look alike, as do `Canis` and
    `Impala`, so a set that has such labels must say. No other label needs it: `Felidae` is a family, `red_fox` and
    `Red Fox` are common names."""
    language: str = Field(default="eng", pattern="^[a-z]{3}$")
    """Language of common names and of `captions`, ISO 639-3."""
    captions: str | None = None
    """Text of an image of any class, with {label} in place of its folder's name, such as "a photo: {label}". No name is
    looked up among the words of camera traps then, and none names a taxon."""
    types: LabelTypes = Field(default={})
    """Folders whose words we do not know, to what they mean: human, vehicle, blank, unknown, unclassified or animal,
    such as `{mtu: human}`. Case, accents and separators do not count."""
    place_level: int | None = None
    """Which folder is the place, counted as `label_level`; without it no place is known."""
    split_level: int | None = None
    """Which folder is the published split (train, val or test); without it none is published."""

    @field_validator("captions")
    @classmethod
    def _names_the_label(cls, captions: str | None) -> str | None:
        if captions is not None and "{label}" not in captions:
            raise ValueError(f"{captions!r} has no {{label}} in it, so all classes would have one text")
        return captions

    @model_validator(mode="after")
    def _looked_up(self) -> "Folders":
        if self.types and self.captions is not None:
            raise ValueError("with `captions` no folder's name is looked up, so `types` says nothing; set one of them")
        return self

    def read(self, store: Store) -> Survey:
        """Lists the set; a file without a folder at a level is counted as no_label, no_place or no_split, and kept.

        Raises DataRefused where no file is an image, and where `names` is needed.
        """
        name, rows = f"{store.url}/{self.images_prefix}".rstrip("/"), SurveyRows()
        place_of, split_of = _part(self.place_level, "no_place"), _part(self.split_level, "no_split")
        label_of = _part({"folder": self.label_level, "none": None}[self.labels], "no_label")
        taxa = partial(_columns, name, self.names, self.language, as_compared(self.types))
        columns = cache(taxa if self.captions is None else partial(_captioned, self.captions, self.language))
        for key in _images(store, self.images_prefix):
            levels = [_CONTAINER.sub("", level) for level in key[len(folder(self.images_prefix)) :].split("/")[:-1]]
            place, split = place_of(levels, key, rows.refused), split_of(levels, key, rows.refused)
            rows.media.add(media_id=key, key=key, place=place, split=_published(split, key, rows.refused))
            label = label_of(levels, key, rows.refused)
            if label is not None and label.lower() in BAD:
                rows.refused.add("bad_label", key)
            elif label is not None:
                rows.observations.add(media_id=key, level="media", origin="folders", **columns(label))
        if not len(rows.media):
            raise DataRefused(f"{name}: no file in this folder is an image by its name ({', '.join(EXTENSIONS)})")
        found = rows.survey(name, len(rows.media))
        media, observations = found.media.sort_by("key"), found.observations.sort_by("media_id")
        return replace(found, media=media, observations=observations)  # stores differ in the order of their listings


def _images(store: Store, prefix: str) -> Iterator[str]:
    """Keys in the store's order; no listing of them all is held."""
    return (entry.key for entry in Archive(store).stream(prefix) if entry.key.lower().endswith(EXTENSIONS))


def _part(level: int | None, reason: str) -> Part:
    return _unknown if level is None else partial(_at, level, reason)


def _at(level: int, reason: str, levels: list[str], key: str, refused: Refused) -> str | None:
    """The folder at `level`; a file that has none there, or one without a name (`fox//1.jpg`), is counted under
    `reason`."""
    if -len(levels) <= level < len(levels) and levels[level].strip("_ "):
        return levels[level]
    refused.add(reason, key)
    return None


def _unknown(levels: list[str], key: str, refused: Refused) -> str | None:
    return None


def _published(split: str | None, key: str, refused: Refused) -> str | None:
    if split is not None and split.lower() not in _SPLITS:
        refused.add("no_split", key)
    return _SPLITS.get((split or "").lower())


def _captioned(captions: str, language: str, label: str) -> dict[str, Any]:
    """The text of a class, as columns of OBSERVATIONS."""
    written = " ".join(label.replace("_", " ").split())
    caption = captions.replace("{label}", written)
    return {"type": "unclassified", "label": label, "caption": caption, "language": language}


def _columns(survey: str, names: str | None, language: str, types: dict[str, str], label: str) -> dict[str, Any]:
    """What a label says, as columns of OBSERVATIONS. Raises DataRefused for a label that only `names` could tell."""
    kind, written = observation_type(label, types=types), " ".join(label.replace("_", " ").split())
    said: dict[str, Any] = {"type": kind, "label": label}
    if kind != "animal" or written.lower() == "animal":
        return said
    name, rank = taxon(written)
    if rank in ("genus", "species", "subspecies") and names is None:
        raise DataRefused(f"{survey}: the folder {label!r} may be a scientific or a common name; "
                          "set `names` of this source to scientific or common")  # fmt: skip
    if rank is None or names == "common":
        return said | {"names": json.dumps({language: written}, ensure_ascii=False)}
    return said | {"taxon": name, "rank": rank}
