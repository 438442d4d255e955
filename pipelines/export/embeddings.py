"""`--as embeddings`: what the model makes of every image and caption of a dataset version, as Parquet.

    images-00000.parquet      a row an image: ids, split, taxon, vector
    captions-00000.parquet    a row a caption: the ids of its image, its number and text, vector

One of each for an item of the version, of up to 1,024 images: so many are in memory, and a run that was cut goes on
behind the last that is whole.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.export.origin import Origin
from pipelines.export.whole_folder import finish, marked, resumed
from pipelines.gallery import Split, embed
from pipelines.predictions.dataset_frames import check_pixels
from pipelines.predictions.vectors import write_part
from pipelines.progress import Progress, say
from pipelines.train.plan import sample_reader
from pipelines.train.samples import SampleReader
from xmodal.inference import Inference

IDS = ("sample_id", "survey", "media_id", "crop", "split")
"""What of RECORDS stands in both tables: `crop` is x,y,width,height of what was looked at, null = all of the frame."""


@dataclass(frozen=True)
class Embeddings:
    """The vectors of one dataset version."""

    model: Inference
    origin: Origin
    dataset: Dataset
    reader: SampleReader

    kind = "embeddings"

    @classmethod
    def of(cls, model: Inference, origin: Origin, store: Store, asked: str | None) -> "Embeddings":
        """Of the version `asked`, NAME or NAME@VERSION, else of the one that the model was trained on. Raises NotFound,
        SettingsError where its images were prepared otherwise than the model's."""
        dataset = Dataset.named(store, asked or f"{model.state['dataset']}@{model.state['dataset_version']}")
        check_pixels(dataset, model)
        return cls(model, origin, dataset, sample_reader(origin.recipe, dataset, model.wordpiece))

    @property
    def device(self) -> str:
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def mark(self) -> dict[str, Any]:
        """What they are of."""
        of = {"name": self.dataset.name, "version": self.dataset.version, "digest": self.dataset.digest}
        return {"kind": self.kind, **self.origin.document, "of": of}

    def write(self, folder: Path) -> None:
        """Goes on where an earlier run was cut; nothing is made again that is there."""
        if marked(folder) == self.mark:
            say(f"{folder} is there already, of this model and this dataset version")
            return
        self.model.network.to(self.device)
        unfinished, done = resumed(folder, self.mark), 0
        with Progress("export", sum(item.rows for item in self.dataset.items), "images") as progress:
            for number, item in enumerate(self.dataset.items):
                captions = unfinished / f"captions-{number:05d}.parquet"
                if not captions.exists():  # it is written last
                    images, texts = self._item(number)
                    write_part(unfinished / f"images-{number:05d}.parquet", images)
                    write_part(captions, texts)
                done += item.rows
                progress.update(done)
        finish(unfinished, folder, self.mark)

    def _item(self, number: int) -> tuple[pa.Table, pa.Table]:
        rows = self.dataset.items[number].rows
        split = Split(self.dataset, self.reader, np.full(rows, number), np.arange(rows))
        found = embed(self.model.network, split, self.device)
        known = self.dataset.read_item(number, "records", [*IDS, "taxon"])
        each = [len(own) for own in found.captions]
        texts = known.select(IDS).take(pa.array(np.repeat(np.arange(rows), each)))
        counted = [place for count in each for place in range(count)]
        said = [one["text"] for own in found.captions for one in own]
        texts = texts.append_column("number", pa.array(counted, pa.int32()))
        texts = texts.append_column("text", pa.array(said, pa.string()))
        return self._with_vectors(known, found.images), self._with_vectors(texts, found.texts)

    def _with_vectors(self, table: pa.Table, vectors: list[torch.Tensor]) -> pa.Table:
        width = self.model.network.settings.embed_dim
        flat = torch.cat([torch.zeros(0, width), *vectors]).numpy().astype(np.float32).reshape(-1)
        column = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), width)
        told = {"xmodal": json.dumps(self.mark, ensure_ascii=False)}
        return table.append_column("vector", column).replace_schema_metadata(told)
