"""The images of a split and the texts written of them, as embeddings, facts and relevance."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipelines.dataset import Dataset
from pipelines.train.order import GROUP_ROWS
from pipelines.train.samples import Group, SampleReader, padded_codes
from xmodal.metrics.retrieval import Rows, entailed, entailing, same_owner
from xmodal.model import CrossModalModel


@dataclass(frozen=True)
class Gallery:
    """N images and M texts of one split, on the CPU.

    In a captioned set every caption is a text of its own and fits its own image. In a survey equal captions are one
    text, and a text fits every image whose recorded facts entail it; a text that claims nothing is left out. In a set
    of classes, where images share the one text that they have, equal ones are one text too and fit all these images.
    """

    images: Tensor
    """(N, D) unit vectors."""
    texts: Tensor
    """(M, D) unit vectors."""
    captions: list[str]
    """The M texts."""
    owner: Tensor
    """(M,) index of the image a text was written of (the first one where several share it)."""
    written: Tensor
    """(M,) number of each text among all captions of the images."""
    image_codes: Tensor
    """(N, A) int32."""
    text_codes: Tensor
    """(M, A) int32."""
    first: Tensor
    """(N,) the `owner` of the texts that an image fits: itself, or the first image with the same text."""
    captioned: bool
    """Whether every caption is a text of its own."""
    claiming: bool
    """Whether entailment (surveys) or ownership (captioned sets, sets of classes) decides what is relevant."""

    def relevant_texts(self) -> Rows:
        """Image queries to texts."""
        if self.claiming:
            return entailing(self.image_codes, self.text_codes)
        return same_owner(self.first, self.owner)

    def relevant_images(self) -> Rows:
        """Text queries to images."""
        if self.claiming:
            return entailed(self.text_codes, self.image_codes)
        return same_owner(self.owner, self.first)

    @property
    def rule(self) -> str:
        """What is right, in words."""
        if self.claiming:
            return "any whose recorded facts entail the text"
        return "its own caption or image" if self.captioned else "the text of the image's class, or any image of it"


@dataclass(frozen=True)
class Split:
    """Rows of a split, in storage order, cut by row group."""

    dataset: Dataset
    reader: SampleReader
    item: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, dataset: Dataset, reader: SampleReader, splits: tuple[str, ...], limit: int | None = None) -> "Split":
        """The rows of `splits` that have a caption; at most `limit`, evenly spread over the storage order."""
        tables = [dataset.records(["captions"], split=split) for split in splits]
        rows = pa.concat_tables(tables).sort_by([("item", "ascending"), ("row", "ascending")])
        rows = rows.filter(pa.array([text != b"[]" for text in rows["captions"].to_pylist()], pa.bool_()))
        keep = np.arange(len(rows))
        if limit is not None and len(keep) > limit:
            keep = np.linspace(0, len(keep) - 1, limit).round().astype(np.int64)
        return cls(dataset, reader, rows["item"].to_numpy()[keep], rows["row"].to_numpy()[keep])

    def __len__(self) -> int:
        return len(self.item)

    def share(self, rank: int, size: int) -> "Split":
        """Every `size`-th row from `rank` on."""
        return Split(self.dataset, self.reader, self.item[rank::size], self.row[rank::size])

    def told(self, columns: list[str], split: str) -> list[dict[str, Any]]:
        """RECORDS columns of each row, in order; `split` is the one that the rows are of."""
        found = self.dataset.records(columns, split=split).to_pylist()
        by_row = {(one["item"], one["row"]): one for one in found}
        return [by_row[where] for where in zip(self.item.tolist(), self.row.tolist(), strict=True)]

    def groups(self) -> Iterator[tuple[Group, np.ndarray]]:
        """Row groups with the rows wanted of each."""
        keys = self.item.astype(np.int64) << 32 | self.row // GROUP_ROWS
        for key in np.unique(keys):
            wanted = self.row[keys == key] % GROUP_ROWS
            yield self.reader.read_group(self.dataset, int(key >> 32), int(key & 0xFFFFFFFF)), wanted


@dataclass
class Embedded:
    """Vectors of a split's rows: one image each, and all their captions."""

    images: list[Tensor]
    texts: list[Tensor]
    records: list[dict[str, Any]]
    captions: list[list[dict[str, Any]]]


def embed(model: CrossModalModel, split: Split, device: torch.device | str) -> Embedded:
    """Query-encoder vectors of every image and caption of `split`; the model is left in the mode it came in."""
    training = model.training
    model.eval()
    found = encode(split, model.encode_image, model.encode_text, device)
    model.train(training)
    return found


def encode(
    split: Split,
    image: Callable[[Tensor], Tensor],
    text: Callable[[Tensor, Tensor], Tensor],
    device: torch.device | str,
    batch: int = 128,
) -> Embedded:
    """What two functions make of every image and of every caption of `split`."""
    found = Embedded([], [], [], [])
    for group, wanted in split.groups():
        for rows in np.array_split(wanted, -(-len(wanted) // batch)):
            pixels = np.stack([split.reader.images.decode(group.images[row]) for row in rows])
            found.images.append(image(split.reader.images.tensor(pixels).to(device)).cpu())
            if said := [one for row in rows for one in group.texts[row]]:
                ids, mask = _texts(split.reader, said)
                found.texts.append(text(ids.to(device), mask.to(device)).cpu())
            found.records += [group.records[row] for row in rows]
            found.captions += [group.captions[row] for row in rows]
    return found


def _texts(reader: SampleReader, texts: list[tuple[bytes, int]]) -> tuple[Tensor, Tensor]:
    """Texts as the text encoder takes them, and their mask."""
    lengths = torch.tensor([length for _, length in texts])
    rows = np.stack([np.frombuffer(data, reader.texts.dtype).reshape(reader.texts.shape) for data, _ in texts])
    longest = int(lengths.max())
    return reader.texts.tensor(rows)[:, :longest], torch.arange(longest) < lengths[:, None]


def gallery(found: Embedded, attributes: int) -> Gallery:
    """The gallery of embedded rows."""
    flat = [(image, one) for image, captions in enumerate(found.captions) for one in captions]
    claiming, classes = any(one["codes"] is not None for _, one in flat), _shared(found.captions)
    captioned = not claiming and not classes
    keep = _distinct(flat) if claiming else range(len(flat)) if captioned else list(classes.values())
    images = torch.arange(len(found.records))
    codes = [np.frombuffer(record["codes"], np.int32).tolist() for record in found.records]
    return Gallery(
        images=torch.cat(found.images),
        texts=torch.cat(found.texts)[list(keep)],
        captions=[flat[n][1]["text"] for n in keep],
        owner=torch.tensor([flat[n][0] for n in keep]),
        written=torch.tensor(list(keep)),
        image_codes=torch.from_numpy(np.stack([padded_codes(one, attributes) for one in codes])),
        text_codes=torch.from_numpy(np.stack([padded_codes(flat[n][1]["codes"], attributes) for n in keep])),
        first=torch.tensor([classes[own[0]["text"]] for own in found.captions]) if classes else images,
        captioned=captioned,
        claiming=claiming,
    )


def _shared(captions: list[list[dict[str, Any]]]) -> dict[str, int]:
    """The first image of each text where every image has one and at least two share one, on average; else none."""
    first: dict[str, int] = {}
    for image, own in enumerate(captions):
        for one in own:
            first.setdefault(one["text"], image)
    return first if all(len(own) == 1 for own in captions) and 2 * len(first) <= len(captions) else {}


def _distinct(flat: list[tuple[int, dict[str, Any]]]) -> list[int]:
    """The first of each text that claims something."""
    first: dict[str, int] = {}
    for position, (_, caption) in enumerate(flat):
        if any(code >= 0 for code in caption["codes"] or []):
            first.setdefault(caption["text"], position)
    return list(first.values())
