"""Captioned image sets: Flickr8k's `token.txt` with one list of images a split, or a Karpathy split JSON.

Both name their images by bare file name; where the files lie in the archive (loose or in tars) is found in its listing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.archive import Archive
from pipelines.sources.reading import numbered_lines, read_json, read_lines, read_list
from pipelines.sources.rows import SurveyRows, mappings, text
from pipelines.sources.schema import Refused, Survey
from xmodal.settings import Settings

Split = Literal["train", "val", "test"]
_KARPATHY = {"train": "train", "restval": "train", "val": "val", "test": "test"}


class Captioned(Settings):
    """Captions, the published split and the images they are about."""

    kind: Literal["captioned"]
    captions: str
    """Key of the captions: lines `name#i<tab>caption`, or, ending in .json, Karpathy's document with its splits."""
    splits: dict[Split, str] = Field(default={})
    """Keys of the image lists (one file name a line) of train, val (a set's "dev") and test; none for a .json."""
    images_prefix: str = ""
    """Folder of the archive that image files and tars lie in, at any depth."""
    language: str = Field(default="eng", pattern="^[a-z]{3}$")
    """Language of the captions, ISO 639-3."""

    def read(self, store: Store) -> Survey:
        """Reads the set; refused rows are counted by reason. Raises DataRefused, infra.storage.NotFound.

        An image in no split is counted as in_no_split and kept with a null split.
        """
        rows = SurveyRows()
        read = _read_karpathy if self.captions.lower().endswith(".json") else _read_token_file
        captioned = read(store, self.captions, rows.refused)
        splits = captioned.splits or _read_splits(store, self.splits)
        files = _find_files(store, self.images_prefix, rows.refused)
        for name in sorted(captioned.captions.keys() | splits.keys()):
            _add_image(rows, name, files.get(name), splits.get(name), captioned.captions.get(name, []), self.language)
        return rows.survey(f"{store.url}/{self.captions}", len(captioned.captions))


@dataclass(frozen=True)
class _Captions:
    """File name to captions, and to its split where the same document states it."""

    captions: dict[str, list[str]]
    splits: dict[str, str]


def _read_token_file(store: Store, key: str, refused: Refused) -> _Captions:
    captions: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, line in numbered_lines(store, key):
        reference, tab, caption = line.partition("\t")
        name, mark, position = reference.strip().rpartition("#")
        if not (tab and mark and name and position.isdigit()):
            refused.add("bad_line", f"{key} line {number}")
        elif not caption.strip():
            refused.add("empty_caption", reference)
        elif reference in seen:
            refused.add("duplicate_caption", reference)
        else:
            seen.add(reference)
            captions.setdefault(name, []).append(caption.strip())
    if not captions:
        raise DataRefused(f"{store.url}/{key}: no line of it reads `name#i<tab>caption`")
    return _Captions(captions, {})


def _read_karpathy(store: Store, key: str, refused: Refused) -> _Captions:
    found = _Captions({}, {})
    images = read_list(store, key, read_json(store, key), "images")
    for image in mappings(images, refused, "images"):
        name = text(image.get("filename"))
        split = _KARPATHY.get(str(image.get("split")))
        if name is None or name in found.captions:
            refused.add("no_path" if name is None else "duplicate_file", f"{name or image.get('imgid')}")
            continue
        found.captions[name] = list(_sentences(image, name, refused))
        if split is not None:
            found.splits[name] = split
    return found


def _sentences(image: dict[str, Any], name: str, refused: Refused) -> Iterator[str]:
    sentences = image.get("sentences")
    for sentence in mappings(sentences if isinstance(sentences, list) else [], refused, f"sentences of {name}"):
        raw = sentence.get("raw")
        if isinstance(raw, str) and raw.strip():
            yield raw.strip()
        else:
            refused.add("empty_caption", name)


def _read_splits(store: Store, paths: dict[Split, str]) -> dict[str, str]:
    """File name to split. Raises DataRefused where an image stands in two: its test score would be worth nothing."""
    splits: dict[str, str] = {}
    for split, path in paths.items():
        for line in read_lines(store, path):
            name = line.strip()
            if splits.setdefault(name, split) != split:
                raise DataRefused(f"{store.url}/{path}: {name} stands in {splits[name]} and in {split}")
    return splits


def _find_files(store: Store, prefix: str, refused: Refused) -> dict[str, str]:
    """Bare file name to key; of two files of one name the first key counts."""
    archive = Archive(store)
    files: dict[str, str] = {}
    for entry in archive.stream(prefix):
        name = entry.key.rpartition("/")[2]
        first, second = sorted((files.get(name, entry.key), entry.key))
        if name in files:
            refused.add("duplicate_file", second)
        if name:
            files[name] = first
    refused.extend(archive.refused)
    return files


def _add_image(
    rows: SurveyRows, name: str, key: str | None, split: str | None, captions: list[str], language: str
) -> None:
    if key is None:
        rows.refused.add("no_such_file", name)
        rows.refused.counts["caption_of_missing_file"] += len(captions)
        return
    if split is None:
        rows.refused.add("in_no_split", name)
    rows.media.add(media_id=name, key=key, split=split)
    for caption in captions:
        rows.observations.add(
            media_id=name,
            level="media",
            type="unclassified",
            caption=caption,
            language=language,
            method="human",
            origin="captioned",
        )
