"""Validation during training: a few figures of the val split, the work shared by all workers."""

from typing import Any, cast

import torch
from torch.nn.functional import pad

from pipelines.dataset import Dataset
from pipelines.errors import DataRefused, NonFinite
from pipelines.gallery import Embedded, Gallery, Split, embed, gallery
from pipelines.pair_scores import tokens
from pipelines.train.samples import SampleReader
from xmodal import distributed
from xmodal.matchers import Matcher
from xmodal.matchers.sides import Side
from xmodal.metrics.intervals import mean
from xmodal.metrics.retrieval import Rows, dots, precisions, ranks, rsum
from xmodal.model import CrossModalModel


class ByEmbeddings:
    """Scores of all pairs of a gallery by its embeddings."""

    prefix = "val"

    def __call__(self, model: CrossModalModel, share: Split, found: Gallery) -> tuple[Rows, Rows]:
        return dots(found.images, found.texts), dots(found.texts, found.images)


class ByHost:
    """Scores by the model's cross-attention host: each worker scores its own images with the texts of all."""

    prefix = "val/host"

    @torch.no_grad()
    def __call__(self, model: CrossModalModel, share: Split, found: Gallery) -> tuple[Rows, Rows]:
        host, device = cast(Matcher, model.host), model.temperature.value.device
        read = [tokens(model, share, device)] if len(share) else []
        texts = joined(gathered([host.text_side(one.text, one.mask).to("cpu") for one in read]))
        wanted = texts.take(found.written).to(device)
        own = [host.raw_scores(host.image_side(one.image), wanted).cpu() for one in read]
        whole = torch.cat(gathered(own))
        return lambda images: whole[images], lambda texts: whole.T[texts]


def gathered(mine: list[Any]) -> list[Any]:
    """The lists of all workers, one behind another."""
    return [one for part in distributed.gather_objects(mine) for one in part]


def joined(sides: list[Side]) -> Side:
    """Texts one behind another, padded to the longest."""
    longest = max(one.fragments for one in sides)
    vectors = torch.cat([pad(one.vectors, [0, 0, 0, longest - one.fragments]) for one in sides])
    return Side.of_zeroed(vectors, torch.cat([pad(one.mask, [0, longest - one.fragments]) for one in sides]))


class Validation:
    """Retrieval on the val split: rsum for captioned sets, mAP@R (times 100) for surveys, as `val/score`.

    A model with a matcher is judged by it, its embeddings are measured beside: they may not be trained at all.
    """

    def __init__(self, dataset: Dataset, reader: SampleReader, limit: int, by_host: bool = False):
        """Raises DataRefused where the split is empty."""
        self.split = Split.of(dataset, reader, ("val",), limit)
        self.attributes = reader.attributes
        self.scorers = [ByEmbeddings(), *([ByHost()] if by_host else [])]
        if len(self.split) == 0:
            raise DataRefused(f"dataset {dataset.name}: no image in the val split, so nothing could be validated")

    def measure(self, model: CrossModalModel, device: torch.device | str) -> dict[str, float]:
        """Figures under their log keys; the same on every worker."""
        share, training = self.split.share(distributed.rank(), distributed.world_size()), model.training
        model.eval()
        mine = embed(model, share, device)
        whole = Embedded(*(gathered(getattr(mine, name)) for name in Embedded.__annotations__))
        found = gallery(whole, self.attributes)
        if not (found.images.isfinite().all() and found.texts.isfinite().all()):
            raise NonFinite("embeddings of the validation images are not finite; the last checkpoint stays")
        measured: dict[str, float] = {}
        for one in self.scorers:
            told = figures(found, *one(model, share, found))
            measured |= {f"{one.prefix}/{name}": value for name, value in told.items()}
            measured["val/score"] = told.get("map", told["rsum"])
        model.train(training)
        return measured


def figures(found: Gallery, texts: Rows, images: Rows) -> dict[str, float]:
    """Recalls, rsum, and but for captioned sets mAP@R, of scores of images with texts and of texts with images."""
    i2t = (texts, found.relevant_texts(), len(found.images))
    t2i = (images, found.relevant_images(), len(found.texts))
    first, second = ranks(*i2t), ranks(*t2i)
    told = {
        f"{name}/r{k}": 100 * mean(direction.recall(k))
        for name, direction in (("i2t", first), ("t2i", second))
        for k in (1, 5, 10)
    }
    told["rsum"] = rsum(first, second)
    if not found.captioned:
        told["map"] = 50 * (mean(precisions(*i2t).map_at_r) + mean(precisions(*t2i).map_at_r))
    return told
