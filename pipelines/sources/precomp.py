"""Region features with captions: the "precomp" folders of SCAN (Lee et al., ECCV 2018), as USER and SGRAF read them.

For each split a folder holds `STEM_ims.npy`, float32 (images, 36, 2048), the bottom-up features of Anderson et al.
(CVPR 2018), and `STEM_caps.txt`, one caption a line, five lines an image in the order of the rows. Some copies repeat
the row of an image for each of its captions: both are read. There are no pixels: see `xmodal.regions` for what stands
in for them.
"""

import hashlib
from typing import Literal

from pydantic import Field

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.npy_members import SUFFIX, Header, StoredArray, member_key
from pipelines.sources.reading import folder
from pipelines.sources.rows import SurveyRows
from pipelines.sources.schema import Survey
from xmodal.settings import Settings

Split = Literal["train", "val", "test"]
STEMS: dict[Split, str] = {"train": "train", "val": "dev", "test": "test"}


class Precomp(Settings):
    """Stored region features, captions and their split by file."""

    kind: Literal["precomp"]
    folder: str = ""
    """Folder of the archive that the files lie in."""
    splits: dict[Split, str] = Field(default=STEMS, min_length=1)
    """First part of the file names of each split: SCAN's train, dev, test; COCO's 5,000 test images are testall."""
    captions_per_image: int = Field(default=5, ge=1)
    """Lines of each image, in the order of the rows."""
    images: dict[Split, int] = Field(default={})
    """Images that a split must have; without it any number."""
    regions: tuple[int, int] = (36, 2048)
    """Regions of an image and numbers of a region that the arrays must have."""
    sha256: dict[str, str] = Field(default={})
    """SHA-256 in hex, by file name, that files must have; those of `*_ims.npy` are read whole to check it."""

    def read(self, store: Store) -> Survey:
        """Reads the captions and the heads of the arrays. Raises DataRefused where a file is missing or of another
        shape than the layout has."""
        rows, prefix = SurveyRows(), folder(self.folder)
        for split, stem in self.splits.items():
            self._check(store, prefix, stem)
            key = f"{prefix}{stem}{SUFFIX}"
            lines = _lines(store, f"{prefix}{stem}_caps.txt")
            repeats = self._repeats(f"{store.url}/{key}", split, self._array(store, key), lines)
            self._add(rows, split, key, repeats, lines)
        return rows.survey(f"{store.url}/{prefix}", len(rows.media))

    def _check(self, store: Store, prefix: str, stem: str) -> None:
        """Raises DataRefused where a file of the split is missing, or its bytes are not those stated."""
        expected = f"{stem}{SUFFIX} (images x {self.regions[0]} x {self.regions[1]}, float32) and {stem}_caps.txt"
        for name in (f"{stem}{SUFFIX}", f"{stem}_caps.txt"):
            if store.head(prefix + name) is None:
                raise DataRefused(f"{store.url}/{prefix}{name}: not there; a precomp folder holds {expected}")
            found = _digest(store, prefix + name) if name in self.sha256 else None
            if found != self.sha256.get(name):
                raise DataRefused(f"{store.url}/{prefix}{name}: SHA-256 {found}, {self.sha256[name]} is expected")

    def _array(self, store: Store, key: str) -> Header:
        try:
            header = StoredArray(store, key).header
        except ValueError as error:
            raise DataRefused(f"{store.url}/{key}: not an array of features ({error})") from None
        if len(header.shape) != 3 or header.shape[1:] != self.regions:
            wanted = ", ".join(map(str, ("images", *self.regions)))
            raise DataRefused(f"{store.url}/{key}: an array of shape {header.shape}; ({wanted}) is expected")
        return header

    def _repeats(self, name: str, split: Split, array: Header, lines: list[str]) -> int:
        """Rows of each image: 1, or as many as it has captions. Raises DataRefused where neither fits."""
        rows, each = array.shape[0], self.captions_per_image
        images = len(lines) // each
        if len(lines) % each or rows not in (images, len(lines)):
            raise DataRefused(
                f"{name}: {rows} rows for {len(lines)} captions; one row for every {each} captions, or one "
                "a caption, is expected"
            )
        if images != self.images.get(split, images):
            raise DataRefused(f"{name}: {images} images, {self.images[split]} are expected")
        return rows // images if images else 1

    def _add(self, rows: SurveyRows, split: Split, array: str, repeats: int, lines: list[str]) -> None:
        """An image's media id ends in its number in the split, so that the order of the file can be had back."""
        each, stem = self.captions_per_image, self.splits[split]
        for image in range(len(lines) // each):
            name = f"{stem}/{image:07d}"
            rows.media.add(media_id=name, key=member_key(array, image * repeats), split=split)
            for line in lines[image * each : (image + 1) * each]:
                if not line:
                    rows.refused.add("empty_caption", name)
                    continue
                rows.observations.add(
                    media_id=name, level="media", type="unclassified", caption=line, method="human", origin="precomp"
                )


def _lines(store: Store, key: str) -> list[str]:
    """Every line, the empty ones too: a line's number says whose it is. Raises DataRefused where it is not UTF-8."""
    try:
        content = store.read(key).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataRefused(f"{store.url}/{key}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    return [line.strip() for line in content.removesuffix("\n").split("\n")] if content else []


def _digest(store: Store, key: str) -> str:
    with store.open(key) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
