"""What is evaluated: a model's embeddings of a split, beside what is recorded of the split and of the training rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import torch

from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.gallery import Embedded, Gallery, Split, embed, gallery
from pipelines.taxa import species_facts
from pipelines.train.order import GROUP_ROWS
from pipelines.train.samples import SampleReader
from xmodal.inference import Inference
from xmodal.metrics.space import best_temperature

TRAINED_ON = ["place", "taxon", "captions", "facts"]


@dataclass(frozen=True)
class Subject:
    """One model on one split."""

    model: Inference
    dataset: Dataset
    split: str
    rows: Split
    embedded: Embedded
    gallery: Gallery
    train: pa.Table
    """Records of the training rows: place, taxon, captions, facts."""
    temperature: float
    """Fitted on the validation split, for the information bound."""

    @classmethod
    def of(cls, model: Inference, dataset: Dataset, reader: SampleReader, split: str) -> "Subject":
        """Raises DataRefused where the split holds no image with a text."""
        rows = Split.of(dataset, reader, (split,))
        if len(rows) == 0:
            raise DataRefused(f"dataset {dataset.name} version {dataset.version}: no image in the {split} split")
        embedded = embed(model.network, rows, model.device)
        validation = gallery(
            embed(model.network, Split.of(dataset, reader, ("val",), 1000), model.device), reader.attributes
        )
        own = validation.images[validation.owner]
        return cls(
            model,
            dataset,
            split,
            rows,
            embedded,
            gallery(embedded, reader.attributes),
            dataset.records(TRAINED_ON, split="train"),
            best_temperature(own, validation.texts, 256),
        )

    @property
    def records(self) -> list[dict[str, Any]]:
        """One record an image, in the gallery's order."""
        return self.embedded.records

    @property
    def groups(self) -> list[str]:
        """What intervals resample: the place of each image; the image itself where no place is known."""
        places = [record["place"] for record in self.records]
        return places if all(places) else [record["sample_id"] for record in self.records]

    @property
    def text_groups(self) -> list[str]:
        """The group of each text: that of the image it was written of."""
        groups = self.groups
        return [groups[owner] for owner in self.gallery.owner.tolist()]

    @property
    def resampled(self) -> str:
        """What `groups` are, in words."""
        return "places" if all(record["place"] for record in self.records) else "images"

    @cached_property
    def train_taxa(self) -> dict[str, dict[str, Any]]:
        """Species of the training rows and their taxon facts."""
        return species_facts(self.train["facts"].to_pylist())

    @cached_property
    def train_places(self) -> tuple[list[str], list[str]]:
        """Place and species of every training row that has both."""
        rows = zip(self.train["place"].to_pylist(), self.train["taxon"].to_pylist(), strict=True)
        pairs = [(place, taxon) for place, taxon in rows if place and taxon in self.train_taxa]
        return [place for place, _ in pairs], [taxon for _, taxon in pairs]

    def truth(self, image: int) -> str:
        """What is recorded of an image, in words: its first text."""
        return self.embedded.captions[image][0]["text"]

    def generate(self, images: Sequence[int]) -> list[str]:
        """Captions that the model writes for images of the gallery."""
        return self.model.captions(torch.cat([self._encoded(image) for image in images]))

    def _encoded(self, image: int) -> torch.Tensor:
        """(1, ...) one image as the image encoder takes it."""
        reader, item, row = self.rows.reader, int(self.rows.item[image]), int(self.rows.row[image])
        part = self.dataset.read_group(item, row // GROUP_ROWS, reader.images.part, [reader.images.column])
        return reader.images.tensor(reader.images.decode(part[reader.images.column][row % GROUP_ROWS].as_py())[None])
