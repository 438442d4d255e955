"""What is evaluated: a model's embeddings of a split, beside what is recorded of the split and of the training rows."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.gallery import Embedded, Gallery, Split, embed, gallery
from pipelines.taxa import asked_in, species_facts, species_keys, species_shown
from pipelines.train.order import GROUP_ROWS
from pipelines.train.samples import SampleReader
from xmodal.inference import Inference
from xmodal.metrics.space import best_temperature

TRAINED_ON = ["place", "captions", "facts"]
WRITTEN = 1000
"""Images captioned, at most."""


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
    """Records of the training rows: place, captions, facts."""
    temperature: float
    """Fitted on the validation split, for the information bound."""
    validation: Embedded
    """Up to 1,000 rows of the validation split."""
    validation_species: list[str | None]
    """The species of each (see `species`)."""
    validation_facts: list[dict[str, Any]]
    """The recorded facts of each."""

    @classmethod
    def of(cls, model: Inference, dataset: Dataset, reader: SampleReader, split: str) -> "Subject":
        """Raises DataRefused where the split holds no image with a text."""
        rows = Split.of(dataset, reader, (split,))
        if len(rows) == 0:
            raise DataRefused(f"dataset {dataset.name} version {dataset.version}: no image in the {split} split")
        embedded = embed(model.network, rows, model.device)
        some = Split.of(dataset, reader, ("val",), 1000)
        validation = embed(model.network, some, model.device)
        fitted_on = gallery(validation, reader.attributes)
        own = fitted_on.images[fitted_on.owner]
        return cls(
            model,
            dataset,
            split,
            rows,
            embedded,
            gallery(embedded, reader.attributes),
            dataset.records(TRAINED_ON, split="train"),
            best_temperature(own, fitted_on.texts, 256),
            validation,
            species_of(some, "val"),
            [json.loads(one["facts"]) for one in some.told(["facts"], "val")],
        )

    def on(self, split: str) -> "Subject | None":
        """The same model on another split of the dataset; None where that holds no image with a text."""
        rows = Split.of(self.dataset, self.rows.reader, (split,))
        if len(rows) == 0:
            return None
        embedded = embed(self.model.network, rows, self.model.device)
        found = gallery(embedded, self.rows.reader.attributes)
        return replace(self, split=split, rows=rows, embedded=embedded, gallery=found)

    @property
    def records(self) -> list[dict[str, Any]]:
        """One record an image, in the gallery's order."""
        return self.embedded.records

    @cached_property
    def groups(self) -> list[str]:
        """What intervals resample, the unit that a split by place moves as a whole: the place of each image; its event
        where no place is known; the image itself where neither is."""
        return [record["place"] or event_of(record) or record["sample_id"] for record in self.records]

    @cached_property
    def events(self) -> list[str]:
        """The event of each image; an image without one is one."""
        return [event_of(record) or record["sample_id"] for record in self.records]

    @cached_property
    def text_groups(self) -> list[dict[str, float]]:
        """The groups of each text: those of the images that it was written of, with the share of these in each."""
        if self.gallery.captioned:
            return [{self.groups[owner]: 1.0} for owner in self.gallery.owner.tolist()]
        found = {text: Counter[str]() for text in self.gallery.captions}
        for group, captions in zip(self.groups, self.embedded.captions, strict=True):
            for text in found.keys() & {one["text"] for one in captions}:
                found[text][group] += 1
        return [{group: n / images.total() for group, n in images.items()} for images in found.values()]

    @property
    def resampled(self) -> str:
        """What `groups` are, in words."""
        first = {"places" if one["place"] else "events" if one["event_id"] else "images" for one in self.records}
        return ", else ".join(kind for kind in ("places", "events", "images") if kind in first)

    @cached_property
    def facts(self) -> list[dict[str, Any]]:
        """The recorded facts of each image (see `pipelines.prepare.facts`), in the gallery's order."""
        return [json.loads(one["facts"]) for one in self._told]

    @cached_property
    def species(self) -> list[str | None]:
        """The species of each image, as `pipelines.taxa.species_key` names it; None where none is recorded."""
        return species_keys([one["facts"] for one in self._told])

    @cached_property
    def shown(self) -> list[set[str]]:
        """All species of each image: one of several in the frame too."""
        return [species_shown(one) for one in self.facts]

    @cached_property
    def incumbents(self) -> list[list[dict[str, Any]]]:
        """What machines said of each image before (see `pipelines.prepare.incumbents`), in the gallery's order."""
        return [json.loads(one["incumbents"] or b"[]") for one in self._told]

    @cached_property
    def _told(self) -> list[dict[str, Any]]:
        return self.rows.told(["facts", "incumbents"], self.split)

    @property
    def language(self) -> str:
        """The one that the model is asked in."""
        return asked_in(self.model.recipe)

    @property
    def confidence_temperature(self) -> float:
        """The model's own, which `predict classify` prints its scores with."""
        return float(self.model.network.temperature.value)

    @cached_property
    def train_taxa(self) -> dict[str, dict[str, Any]]:
        """Species of the training rows and their taxon facts."""
        return species_facts(self.train["facts"].to_pylist())

    @cached_property
    def train_shown(self) -> set[str]:
        """Species that a training row shows, alone or beside others."""
        documents = dict.fromkeys(self.train["facts"].to_pylist())
        return {name for document in documents for name in species_shown(json.loads(document))}

    @cached_property
    def seen_places(self) -> set[str]:
        """Places that a training row is of, whatever it shows."""
        return {place for place in self.train["place"].to_pylist() if place is not None}

    @cached_property
    def train_places(self) -> tuple[list[str | None], list[str]]:
        """Place (None = not known) and species of every training row that names a species."""
        return self._train_places(species_keys(self.train["facts"].to_pylist()))

    @cached_property
    def train_kinds(self) -> tuple[list[str | None], list[str]]:
        """Place and kind, animal or blank, of every training row that is either."""
        documents = self.train["facts"].to_pylist()
        kind = {one: json.loads(one).get("type", {}).get("value") for one in set(documents)}
        return self._train_places([kind[one] if kind[one] in ("animal", "blank") else None for one in documents])

    def _train_places(self, labels: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
        pairs = zip(self.train["place"].to_pylist(), labels, strict=True)
        kept = [(place, label) for place, label in pairs if label is not None]
        return [place for place, _ in kept], [label for _, label in kept]

    def truth(self, image: int) -> str:
        """What is recorded of an image, in words: its first text."""
        return self.embedded.captions[image][0]["text"]

    @cached_property
    def written(self) -> tuple[list[int], list[str]]:
        """Images of the gallery, evenly spread, and the captions that the model writes of them."""
        count = len(self.records)
        images = np.linspace(0, count - 1, min(WRITTEN, count)).round().astype(int).tolist()
        return images, self.generate(images)

    def generate(self, images: Sequence[int]) -> list[str]:
        """Captions that the model writes for images of the gallery."""
        return self.model.captions(torch.cat([self.encoded(image) for image in images]))

    def encoded(self, image: int) -> torch.Tensor:
        """(1, ...) one image as the image encoder takes it."""
        reader, item, row = self.rows.reader, int(self.rows.item[image]), int(self.rows.row[image])
        part = self.dataset.read_group(item, row // GROUP_ROWS, reader.images.part, [reader.images.column])
        return reader.images.tensor(reader.images.decode(part[reader.images.column][row % GROUP_ROWS].as_py())[None])


def species_of(rows: Split, split: str) -> list[str | None]:
    """The species key of each row, which are of `split`."""
    return species_keys([one["facts"] for one in rows.told(["facts"], split)])


def event_of(record: dict[str, Any]) -> str | None:
    """The event of a record, named within its survey; None where it has none."""
    return f"{record['survey']}\0{record['event_id']}" if record["event_id"] else None
