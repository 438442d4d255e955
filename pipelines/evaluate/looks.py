"""What is looked at: each image's words for its animal, the patches its boxes cover, and the weights between them.

Words are those of the names of the animal that is recorded, in all texts of the image; boxes those of an animal that a
detector gave at least the dataset's threshold. One kind of word for all boxes: records name one animal an image.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.gallery import Split
from pipelines.pair_scores import Tokens, tokens
from pipelines.prepare.parts import BOX_CLASSES, boxes_of
from pipelines.train.caption_words import CaptionWords
from xmodal.inference import Inference
from xmodal.matchers import Host
from xmodal.metrics.attention import word_attention
from xmodal.metrics.attention_boxes import centre_gaussian, corners, feature_norm, grid, patches_in
from xmodal.patches import class_tokens, side_of
from xmodal.words import ANIMAL, runs

Array = NDArray[np.float64]
BOXES = ["n_boxes", "boxes", "box_conf", "box_class"]
PAIRS = 256
"""Pairs that pass the host at a time."""
MOST = 2000
"""Images looked at, evenly spread."""


@dataclass(frozen=True)
class Asked:
    """An image before anything was looked at."""

    image: int
    """Its place among the rows."""
    words: list[list[list[int]]]
    """For each of its texts, the tokens of each word for the animal."""
    boxes: Array | None
    """(n, 4) x, y, width, height of the animals; None where no detector ran."""

    @property
    def animals(self) -> int | None:
        """Boxes of animals; None where no detector ran."""
        return None if self.boxes is None else len(self.boxes)

    @property
    def named(self) -> bool:
        """Whether a text of it names its animal."""
        return any(self.words)

    @property
    def asked(self) -> bool:
        """Whether there are words that look and a detector that has looked."""
        return self.named and self.boxes is not None


@dataclass(frozen=True)
class Look:
    """Where the words of one image look; m patches row by row."""

    asked: Asked
    weights: Array
    """(Q, m), of each word for the animal."""
    class_share: Array
    """(Q,) of the weight that went to what is no patch."""
    centre: Array
    """(1, m), of a baseline that looks at the middle."""
    norm: Array
    """(1, m), of one that looks where features are long."""
    relevant: NDArray[np.bool_]
    """(m,) patches in a box."""
    side: int
    """Patches of a row."""


def asked_of(rows: Split, split: str) -> list[Asked]:
    """Every image of `rows`, which are of `split`."""
    words: CaptionWords = rows.reader.words  # pyright: ignore[reportAssignmentType]
    threshold = rows.dataset.document["prepare"]["settings"]["detector_threshold"]
    records = rows.told(["captions", "facts", *BOXES], split)
    texts = [[one["text"] for one in json.loads(record["captions"])] for record in records]
    said = words.of(records, texts) if records else []
    return [
        Asked(n, [named(np.frombuffer(text, np.int64)) for text in said[n]], animals(record, threshold))
        for n, record in enumerate(records)
    ]


def named(words: NDArray[np.int64]) -> list[list[int]]:
    """The tokens of each name of the animal among the word ids of a text."""
    return runs(np.minimum(words, ANIMAL).tolist(), ANIMAL)


def animals(record: dict[str, Any], threshold: float) -> Array | None:
    """(n, 4) boxes of animals in a RECORDS row; None where no detector ran."""
    if record["n_boxes"] is None:
        return None
    boxes, sure, kinds = boxes_of(record)
    return boxes[(sure >= np.float32(threshold)) & (kinds == BOX_CLASSES.index("animal"))]


def looks(model: Inference, rows: Split, every: Sequence[Asked]) -> list[Look]:
    """Of the images of `rows` that can be asked, at most `MOST`, evenly spread."""
    asked = [one for one in every if one.asked]
    kept = [asked[n] for n in np.linspace(0, len(asked) - 1, min(len(asked), MOST)).round().astype(int)]
    if not kept:
        return []
    images = [one.image for one in kept]
    part = Split(rows.dataset, rows.reader, rows.item[images], rows.row[images])
    read = tokens(model.network, part, model.device)
    return list(_looks(model.network.host, read, kept))  # pyright: ignore[reportArgumentType]


def _looks(host: Host, read: Tokens, kept: Sequence[Asked]) -> Iterator[Look]:
    side, first = side_of(read.image.shape[1]), 0
    before = class_tokens(read.image.shape[1])
    patches = grid(side, side)
    for position, one in enumerate(kept):
        found = weights(host, read, position, range(first, first + len(one.words)))
        first += len(one.words)
        pairs = [word_attention(text[None], said, bool(before)) for text, said in zip(found, one.words, strict=True)]
        relevant = patches_in(corners(np.zeros((0, 4)) if one.boxes is None else one.boxes), side, side)
        features = read.image[position, before:].cpu().numpy()
        baselines = centre_gaussian(patches)[None], feature_norm(features)[None]
        own, share = (np.concatenate([pair[n] for pair in pairs]) for n in (0, 1))
        yield Look(one, own, share, *baselines, relevant, side)


@torch.no_grad()
def weights(host: Host, read: Tokens, image: int, texts: range) -> Array:
    """(T, L, R) of an image's texts over it."""
    parts = torch.tensor(texts).split(PAIRS)
    found = [host.attention(read.image[[image] * len(part)], read.text[part], read.mask[part]) for part in parts]
    return torch.cat(found).double().cpu().numpy()
