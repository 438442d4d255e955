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

from pipelines.dataset import Dataset, Item
from pipelines.errors import NotFound
from pipelines.predictions.frames import Piece, as_bytes, table
from pipelines.recipe import Recipe
from pipelines.train.order import GROUP_ROWS
from pipelines.train.plan import sample_reader
from pipelines.train.samples import FeatureImages, PixelImages
from xmodal.inference import Inference
from xmodal.settings import SettingsError, load, parse
from xmodal.transforms import PixelSettings

BATCH = 64
TAKEN = ["media_id", "event_id", "deployment_id", "survey", "captured_at", "utc_offset", "crop", "n_boxes", "boxes",
         "box_conf", "box_class"]  # fmt: skip
"""What is taken from RECORDS."""


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
