"""What the page asks for, without HTTP: searches, one image with all that is known of it, corrections."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.serve.attention import Attention
from pipelines.serve.facets import Facets
from pipelines.serve.index import Index
from pipelines.serve.pictures import Pictures
from pipelines.serve.ranking import Page, Rows, Vector, best, cosines
from pipelines.serve.review import Review, Said
from pipelines.serve.selection import Selection
from pipelines.train.samples import FeatureImages, PixelImages
from xmodal.inference import Inference
from xmodal.settings import SettingsError
from xmodal.transforms import BadImage

PER_PAGE = 48
NEIGHBOURS = 12
CARD = ("label", "type", "taxon", "rank", "common_name", "confidence", "animal_confidence", "species",
        "species_confidence", "captured_at", "light", "split")  # fmt: skip
"""Of ABOUT what is shown of an image among others; nothing that says where it was taken."""
TEXTS = 5
"""Texts that are told of an image."""
UPLOADS = 64
"""Vectors of images that were sent, kept at hand."""


@dataclass
class Desk:
    """One model over one dataset version."""

    model: Inference
    dataset: Dataset
    index: Index
    facets: Facets
    pictures: Pictures
    images: PixelImages | FeatureImages
    """How stored images become what the encoder takes."""
    review: Review
    selection: Selection
    attention: Attention | None
    uploads: "OrderedDict[str, Vector]" = field(default_factory=OrderedDict)

    def about(self) -> dict[str, Any]:
        """What is searched, and the filters."""
        state = self.model.state
        return {
            "dataset": f"{self.dataset.name}@{self.dataset.version}",
            "model": self.selection.maker.model if self.selection.maker else f"step {state['step']}",
            "images": len(self.index),
            "answers": self.selection.maker is not None,
            "precision": self.selection.maker.wanted if self.selection.maker else None,
            "packages": self.selection.packing is not None,
            "reads_files": self.model.reads_pixels,
            "review": str(self.review.file),
            "said": len(self.review),
            "facets": self.facets.counts(),
        }

    def search(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A page of what `asked` finds: `text`, else `like` (an image), else `upload`, else none, among what the
        filters leave. Raises SettingsError, NotFound."""
        began, page = time.perf_counter(), max(0, int(asked.get("page") or 0))
        among = self.facets.kept(asked)
        found = best(self._scores(asked), among, page * PER_PAGE, PER_PAGE)
        items = self.cards(found)
        took = 1000 * (time.perf_counter() - began)
        return {"total": found.total, "page": page, "pages": -(-found.total // PER_PAGE), "items": items,
                "milliseconds": round(took, 1)}  # fmt: skip

    def every(self, asked: Mapping[str, Any]) -> Rows:
        """All images that `asked` finds, best first."""
        among = self.facets.kept(asked)
        return best(self._scores(asked), among, 0, len(among)).images

    def _scores(self, asked: Mapping[str, Any]) -> Vector:
        """(N,), the best highest."""
        query = self._query(asked)
        if query is not None:
            return cosines(self.index.images, query)
        if asked.get("sort") == "unsure":
            return -np.nan_to_num(self.facets.confidence, nan=2.0).astype(np.float32)
        return -np.arange(len(self.index), dtype=np.float32)

    def _query(self, asked: Mapping[str, Any]) -> Vector | None:
        if asked.get("text"):
            return self.model.text_vectors([str(asked["text"])])[0].numpy()
        if asked.get("like") is not None:
            return np.array(self.index.images[self.known(int(asked["like"]))])
        if asked.get("upload"):
            try:
                return self.uploads[asked["upload"]]
            except KeyError:
                raise NotFound("that image is no longer at hand: send it again") from None
        return None

    def upload(self, name: str, data: bytes) -> None:
        """Keeps the vector of an image file under a name. Raises SettingsError where it cannot be read."""
        if not self.model.reads_pixels:
            raise SettingsError("this model reads no image files: it was trained on precomputed features")
        try:
            pixels = self.model.pixels_of([data])
        except BadImage as error:
            raise SettingsError(f"this file cannot be read as an image: {error.reason}") from None
        self.uploads[name] = self.model.image_vectors(pixels)[0].numpy()
        while len(self.uploads) > UPLOADS:
            self.uploads.popitem(last=False)

    def known(self, image: int) -> int:
        """The position of an image. Raises NotFound."""
        if not 0 <= image < len(self.index):
            raise NotFound(f"no image {image}: there are {len(self.index)}")
        return image

    def cards(self, page: Page) -> list[dict[str, Any]]:
        """What is shown of an image among others."""
        rows = self.selection.rows(page.images.tolist())
        return [
            _card(image, row) | {"score": round(score, 4)}
            for image, score, row in zip(page.images.tolist(), page.scores.tolist(), rows, strict=True)
        ]

    def image(self, number: int) -> dict[str, Any]:
        """All that is known of an image."""
        row = next(self.selection.rows([self.known(number)]))
        at = row["item"], row["row"]
        near = np.argsort(-cosines(self.index.texts, np.array(self.index.images[number])), kind="stable")[:TEXTS]
        told = {name: row[name] for name in ("file", "survey", "media_id", "event_id", "reason", "caption")}
        return _card(number, row) | told | {
            "size": self.pictures.size(*at),
            "boxes": self.pictures.boxes(*at),
            "written": self._caption(*at),
            "texts": [self.index.captions[n] for n in near],
            "like": self.cards(self._like(number)),
            "attends": self.attention is not None,
        }  # fmt: skip

    def _like(self, number: int) -> Page:
        every = np.delete(np.arange(len(self.index)), number)
        return best(cosines(self.index.images, np.array(self.index.images[number])), every, 0, NEIGHBOURS)

    def _encoded(self, item: int, row: int) -> torch.Tensor:
        """(1, ...) as the image encoder takes it."""
        stored = self.pictures.stored(item, row, self.images.part, self.images.column)
        return self.images.tensor(self.images.decode(stored)[None]).to(self.model.device)

    def _caption(self, item: int, row: int) -> str | None:
        """What the model writes of it; None for a model that writes nothing."""
        return self.model.captions(self._encoded(item, row))[0] if self.model.captions_images else None

    def looks(self, number: int, text: str) -> dict[str, Any]:
        """Where the words of `text` look in an image. Raises NotFound where the model's attention is no map."""
        row = self.index.row(self.known(number))
        found = self.attention.words(self._encoded(row["item"], row["row"]), text) if self.attention else None
        if found is None:
            raise NotFound("nothing of this model looks at parts of an image word by word")
        return found

    def say(self, images: list[int], kind: str, scientific: str, common: str, note: str) -> None:
        """A label of a person for some images. Raises SettingsError, NotFound."""
        words = [" ".join(text.split()) for text in (scientific, common, note)]  # a row is a line
        rows = [self.index.row(self.known(number)) for number in images]
        self.review.say([Said(row["survey"], row["file"], row["media_id"], kind, *words) for row in rows])

    def unsay(self, images: list[int]) -> int:
        rows = [self.index.row(self.known(number)) for number in images]
        return self.review.unsay([(row["survey"], row["file"]) for row in rows])


def _card(image: int, row: dict[str, Any]) -> dict[str, Any]:
    said = row["said"]
    place = (row["place"] or "")[:8]
    return {"image": image, "place": place, "said": said.name if said else None} | {name: row[name] for name in CARD}
