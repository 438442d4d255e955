"""The images that are asked about, in pieces of some hundred, each with what is known of it before anyone looks.

`DatasetFrames` are those of a dataset version, of which people and frames that are not public were kept out;
`FolderFrames` are bare files, whose camera is the folder that they lie in and whose time is what EXIF says.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from pipelines.dataset import Dataset, Item
from pipelines.errors import DataRefused, NotFound
from pipelines.predict import SUFFIXES
from pipelines.predictions.exif import taken_at
from pipelines.recipe import Recipe
from pipelines.train.order import GROUP_ROWS
from pipelines.train.plan import sample_reader
from pipelines.train.samples import FeatureImages, PixelImages
from xmodal.inference import Inference
from xmodal.settings import SettingsError, load, parse
from xmodal.transforms import BadImage, PixelSettings

PIECE = 256
"""Files of a piece of a folder."""
BATCH = 64
TAKEN = ["media_id", "event_id", "deployment_id", "survey", "captured_at", "utc_offset", "crop", "n_boxes", "boxes",
         "box_conf", "box_class"]  # fmt: skip
"""What is taken from RECORDS."""
LOOKED = pa.schema(
    [
        ("key", pa.string()),  # path in the archive, or below the folder
        ("media_id", pa.string()),
        ("event_id", pa.string()),
        ("deployment_id", pa.string()),
        ("survey", pa.string()),
        ("captured_at", pa.string()),  # local wall time "YYYY-MM-DD HH:MM:SS"; null = unknown
        ("utc_offset", pa.int32()),  # seconds east; null = unknown
        ("crop", pa.string()),  # x,y,width,height of what was looked at; null = all of the frame
        ("n_boxes", pa.int32()),  # null = no detector ran
        ("boxes", pa.binary()),  # as RECORDS has them
        ("box_conf", pa.binary()),
        ("box_class", pa.binary()),
        ("refused", pa.string()),  # why a file could not be read; null = it was
        ("vector", pa.binary()),  # float32 (D,), unit length; null where it was not read
    ]
)


class Piece(Protocol):
    """Some images, named by all that the answer depends on."""

    @property
    def name(self) -> str: ...

    @property
    def rows(self) -> int: ...

    def looked(self, model: Inference) -> pa.Table:
        """LOOKED rows."""
        ...


@dataclass(frozen=True)
class ItemPiece:
    """An item of a dataset version, of up to 1,024 images."""

    dataset: Dataset
    item: Item
    images: PixelImages | FeatureImages

    @property
    def name(self) -> str:
        parts = [self.item.part(kind).sha256 for kind in (self.images.part, "records")]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    @property
    def rows(self) -> int:
        return self.item.rows

    def looked(self, model: Inference) -> pa.Table:
        groups = range(-(-self.item.rows // GROUP_ROWS))
        return pa.concat_tables([self._group(model, group) for group in groups])

    def _group(self, model: Inference, group: int) -> pa.Table:
        read = self.dataset.read_group
        known = read(self.item.index, group, "records", TAKEN)
        keys = read(self.item.index, group, "pixels", ["key"])["key"]
        stored = read(self.item.index, group, self.images.part, [self.images.column])[self.images.column].to_pylist()
        pixels = self.images.tensor(np.stack([self.images.decode(one) for one in stored]))
        columns = {name: known[name] for name in TAKEN} | {"key": keys}
        with torch.no_grad():
            parts = [model.network.encode_image(part.to(model.device)).cpu() for part in pixels.split(BATCH)]
        return table(columns, as_bytes(torch.cat(parts)), [None] * len(stored))


@dataclass(frozen=True)
class FilePiece:
    """Some files below a folder."""

    folder: Path
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        facts = [(one, status.st_size, status.st_mtime_ns) for one in self.files
                 for status in ((self.folder / one).stat(),)]  # fmt: skip
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    @property
    def rows(self) -> int:
        return len(self.files)

    def looked(self, model: Inference) -> pa.Table:
        with ThreadPoolExecutor() as pool:
            read = list(pool.map(lambda one: _read(model, self.folder / one), self.files))
        good = [one.pixels for one in read if one.pixels is not None]
        found = iter(as_bytes(model.image_vectors(torch.cat(good))) if good else [])
        given = [None if one.pixels is None else next(found) for one in read]
        columns = {
            "key": self.files, "media_id": self.files, "survey": [self.folder.resolve().name] * len(self.files),
            "deployment_id": [camera(self.folder, one) for one in self.files],
            "captured_at": [one.captured_at for one in read], "utc_offset": [one.utc_offset for one in read],
        }  # fmt: skip
        return table(columns, given, [one.refused for one in read])


def camera(folder: Path, file: str) -> str:
    """The folder that a file lies in, below `folder`; at its top that folder's own name."""
    return file.rpartition("/")[0] or folder.resolve().name


@dataclass(frozen=True)
class _Read:
    pixels: torch.Tensor | None = None
    captured_at: str | None = None
    utc_offset: int | None = None
    refused: str | None = None


def _read(model: Inference, path: Path) -> _Read:
    try:
        data = path.read_bytes()
        pixels = model.pixels_of([data])
    except BadImage as error:
        return _Read(refused=error.reason)
    except OSError:
        return _Read(refused="unreadable")
    return _Read(pixels, *taken_at(data))


def as_bytes(found: torch.Tensor) -> list[bytes]:
    """(N, D) float32, little-endian, row by row."""
    return [row.tobytes() for row in found.numpy().astype("<f4")]


def table(columns: dict[str, Any], found: Sequence[bytes | None], refused: Sequence[str | None]) -> pa.Table:
    """LOOKED of the columns that are known."""
    whole = columns | {"vector": found, "refused": refused}
    absent = pa.nulls(len(found))
    return pa.table([_chunk(whole.get(field.name, absent), field.type) for field in LOOKED], schema=LOOKED)


def _chunk(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


@dataclass(frozen=True)
class DatasetFrames:
    """All images of a version, or those of one survey."""

    dataset: Dataset
    images: PixelImages | FeatureImages
    survey: str | None

    @classmethod
    def of(cls, dataset: Dataset, model: Inference, survey: str | None) -> "DatasetFrames":
        """Raises NotFound where it lacks the survey or a frozen encoder's features, SettingsError where its pixels are
        not those that the model was trained on."""
        names = [one["name"] for one in dataset.document["surveys"]]
        if survey is not None and survey not in names:
            raise NotFound(
                f"dataset {dataset.name} version {dataset.version}: no survey {survey}; it has {', '.join(names)}"
            )
        return cls(dataset, _images(dataset, model), survey)

    @property
    def told(self) -> dict[str, Any]:
        """What it is, for the record of what was made of what."""
        name = {"dataset": self.dataset.name, "version": self.dataset.version, "digest": self.dataset.digest}
        return name | ({"survey": self.survey} if self.survey else {})

    def media(self) -> pa.Table:
        """media_id and file of every image."""
        known = self.dataset.ledger(["survey", "media_id", "key", "item"]).filter(pc.field("item").is_valid())
        mine = known if self.survey is None else known.filter(pc.field("survey") == self.survey)
        return mine.select(["media_id", "key"]).rename_columns(["media_id", "file"])

    @property
    def vetted(self) -> bool:
        """Whether people, and frames that are not public, were kept out."""
        return True

    def check_one_survey(self) -> None:
        """Raises SettingsError where the images are of several surveys, whose ids are their own."""
        if len(self.dataset.document["surveys"]) > 1 and self.survey is None:
            names = ", ".join(one["name"] for one in self.dataset.document["surveys"])
            raise SettingsError(f"a Camtrap DP package is of one survey: name it with --survey, one of {names}")

    def deployments(self) -> dict[str | None, int]:
        """Images of each deployment."""
        known = self.dataset.records(["survey", "deployment_id"])
        mine = known if self.survey is None else known.filter(pc.field("survey") == self.survey)
        return Counter(mine["deployment_id"].to_pylist())

    def pieces(self) -> Iterator[Piece]:
        for item in self.dataset.items:
            if self.survey in (None, item.survey):
                yield ItemPiece(self.dataset, item, self.images)


def _images(dataset: Dataset, model: Inference) -> PixelImages | FeatureImages:
    """Cached features where the image encoder is frozen."""
    stored, asked = parse(PixelSettings, dataset.document["prepare"]["settings"]["pixels"]), model.pixels
    for name in PixelSettings.model_fields:
        if getattr(stored, name) != getattr(asked, name):
            raise SettingsError(
                f"dataset {dataset.name} version {dataset.version}: its images have data.pixels.{name} "
                f"{getattr(stored, name)}, the model was trained on {getattr(asked, name)}: prepare them by its recipe"
            )
    return sample_reader(load(Recipe, (), below=model.recipe), dataset, model.wordpiece).images


@dataclass(frozen=True)
class FolderFrames:
    """Image files below a folder, by their paths."""

    folder: Path
    files: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, model: Inference) -> "FolderFrames":
        """Raises NotFound where there is no image, DataRefused where the model reads no pixels."""
        if not model.reads_pixels:
            raise DataRefused(
                "this model reads features that were computed beforehand: it can be asked of a dataset alone"
            )
        files = sorted(
            one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES
        )
        if not files:
            raise NotFound(f"no image file in {folder}; looked for {', '.join(sorted(SUFFIXES))}")
        return cls(folder, tuple(files))

    @property
    def told(self) -> dict[str, Any]:
        return {"folder": self.folder.resolve().name}

    def media(self) -> pa.Table:
        """media_id and file of every image."""
        files = pa.array(self.files, pa.string())
        return pa.table({"media_id": files, "file": files})

    @property
    def vetted(self) -> bool:
        """Nobody has looked for people."""
        return False

    def check_one_survey(self) -> None:
        """A folder is one."""

    def deployments(self) -> dict[str | None, int]:
        """Images of each: the folders that they lie in."""
        return Counter(camera(self.folder, one) for one in self.files)

    def pieces(self) -> Iterator[Piece]:
        for start in range(0, len(self.files), PIECE):
            yield FilePiece(self.folder, self.files[start : start + PIECE])


Frames = DatasetFrames | FolderFrames
