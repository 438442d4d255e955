"""Images of a dataset version, of which people and frames that are not public were kept out."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from pipelines.dataset import Dataset, Item
from pipelines.errors import NotFound
from pipelines.predictions.frames import Piece, as_bytes, table
from pipelines.predictions.labels import by_people
from pipelines.recipe import Recipe
from pipelines.train.order import GROUP_ROWS
from pipelines.train.plan import sample_reader
from pipelines.train.samples import FeatureImages, PixelImages
from xmodal.inference import Inference
from xmodal.settings import SettingsError, load, parse
from xmodal.transforms import PixelSettings

BATCH = 64
TAKEN = ["media_id", "event_id", "deployment_id", "survey", "place", "captured_at", "utc_offset", "crop", "n_boxes",
         "boxes", "box_conf", "box_class", "facts", "incumbents"]  # fmt: skip
"""What is taken from RECORDS."""


@dataclass(frozen=True)
class ItemPiece:
    """Images of an item of a dataset version, up to 1,024."""

    dataset: Dataset
    item: Item
    images: PixelImages | FeatureImages
    chosen: NDArray[np.int64]
    """Positions of its rows, in their order."""

    @property
    def name(self) -> str:
        parts = [self.item.part(kind).sha256.encode() for kind in (self.images.part, "records")]
        return hashlib.sha256(b"\n".join([*parts, self.chosen.astype("<i8").tobytes()])).hexdigest()[:32]

    @property
    def rows(self) -> int:
        return len(self.chosen)

    def looked(self, model: Inference) -> pa.Table:
        group = self.chosen // GROUP_ROWS
        return pa.concat_tables([self._group(model, int(n), self.chosen[group == n]) for n in np.unique(group)])

    def _group(self, model: Inference, group: int, chosen: NDArray[np.int64]) -> pa.Table:
        def read(kind: str, columns: list[str]) -> pa.Table:
            return self.dataset.read_group(self.item.index, group, kind, columns).take(chosen % GROUP_ROWS)

        known, keys = read("records", TAKEN), read("pixels", ["key"])["key"]
        stored = read(self.images.part, [self.images.column])[self.images.column].to_pylist()
        pixels = self.images.tensor(np.stack([self.images.decode(one) for one in stored]))
        columns = {name: known[name] for name in TAKEN} | {"key": keys}
        with torch.no_grad():
            parts = [model.network.encode_image(part.to(model.device)).cpu() for part in pixels.split(BATCH)]
        return table(columns, as_bytes(torch.cat(parts)), [None] * len(stored))


@dataclass(frozen=True)
class DatasetFrames:
    """Images of a version: all, or those of one survey, or those that people have not labelled."""

    dataset: Dataset
    images: PixelImages | FeatureImages
    survey: str | None
    unlabelled: bool
    rows: tuple[NDArray[np.int64], ...]
    """Of each item the positions of its rows that are asked about."""

    @classmethod
    def of(cls, dataset: Dataset, model: Inference, survey: str | None, unlabelled: bool = False) -> "DatasetFrames":
        """Raises NotFound where it lacks the survey, a frozen encoder's features or any such image, SettingsError where
        its pixels are not those that the model was trained on."""
        names = [one["name"] for one in dataset.document["surveys"]]
        name = f"dataset {dataset.name} version {dataset.version}"
        if survey is not None and survey not in names:
            raise NotFound(f"{name}: no survey {survey}; it has {', '.join(names)}")
        rows = _unlabelled(dataset) if unlabelled else [np.arange(item.rows) for item in dataset.items]
        mine = [
            own if survey in (None, item.survey) else own[:0] for item, own in zip(dataset.items, rows, strict=True)
        ]
        if not sum(map(len, mine)):
            raise NotFound(f"{name}: no image{f' of {survey}' if survey else ''} that people have not labelled")
        return cls(dataset, _images(dataset, model), survey, unlabelled, tuple(mine))

    @property
    def told(self) -> dict[str, Any]:
        """What it is, for the record of what was made of what."""
        name = {"dataset": self.dataset.name, "version": self.dataset.version, "digest": self.dataset.digest}
        return (
            name | ({"survey": self.survey} if self.survey else {}) | ({"unlabelled": True} if self.unlabelled else {})
        )

    def media(self) -> pa.Table:
        """media_id and file of every image."""
        known = self.dataset.ledger(["survey", "media_id", "key", "item"]).filter(pc.field("item").is_valid())
        mine = known.join(self._records(["survey", "media_id"]), ["survey", "media_id"], join_type="left semi")
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
        return Counter(self._records(["deployment_id"])["deployment_id"].to_pylist())

    def pieces(self) -> Iterator[Piece]:
        for item, rows in zip(self.dataset.items, self.rows, strict=True):
            if len(rows):
                yield ItemPiece(self.dataset, item, self.images, rows)

    def _records(self, columns: list[str]) -> pa.Table:
        """Of the images that are asked about."""
        start = np.cumsum([0, *(item.rows for item in self.dataset.items)])
        positions = [begin + rows for begin, rows in zip(start.tolist(), self.rows, strict=False)]
        return self.dataset.records(columns).select(columns).take(pa.array(np.concatenate(positions)))


def _unlabelled(dataset: Dataset) -> list[NDArray[np.int64]]:
    """Of each item the rows that people have not labelled."""
    known = dataset.records(["facts"])
    coded = known["facts"].combine_chunks().dictionary_encode()  # many rows, few documents
    left = np.array([not by_people(document) for document in coded.dictionary.to_pylist()], bool)
    item, row = (known[name].to_numpy().astype(np.int64) for name in ("item", "row"))
    kept = left[coded.indices.to_numpy()]
    return [row[kept & (item == one.index)] for one in dataset.items]


def _images(dataset: Dataset, model: Inference) -> PixelImages | FeatureImages:
    """Cached features where the image encoder is frozen."""
    check_pixels(dataset, model)
    return sample_reader(load(Recipe, (), below=model.recipe), dataset, model.wordpiece).images


def check_pixels(dataset: Dataset, model: Inference) -> None:
    """Raises SettingsError where images of the dataset were prepared otherwise than those the model was trained on."""
    stored, asked = parse(PixelSettings, dataset.document["prepare"]["settings"]["pixels"]), model.pixels
    for name in PixelSettings.model_fields:
        if getattr(stored, name) != getattr(asked, name):
            raise SettingsError(
                f"dataset {dataset.name} version {dataset.version}: its images have data.pixels.{name} "
                f"{getattr(stored, name)}, the model was trained on {getattr(asked, name)}: prepare them by its recipe"
            )
