"""Validation during training: a few figures of the val split, the work shared by all workers."""

import torch

from pipelines.dataset import Dataset
from pipelines.errors import DataRefused, NonFinite
from pipelines.gallery import Embedded, Split, embed, gallery
from pipelines.train.samples import SampleReader
from xmodal import distributed
from xmodal.metrics.intervals import mean
from xmodal.metrics.retrieval import dots, precisions, ranks, rsum
from xmodal.model import CrossModalModel


class Validation:
    """Retrieval on the val split: rsum for captioned sets, mAP@R (times 100) for surveys, as `val/score`."""

    def __init__(self, dataset: Dataset, reader: SampleReader, limit: int):
        self.split = Split.of(dataset, reader, ("val",), limit)
        self.attributes = reader.attributes
        if len(self.split) == 0:
            raise DataRefused(f"dataset {dataset.name}: no image in the val split, so nothing could be validated")

    def measure(self, model: CrossModalModel, device: torch.device | str) -> dict[str, float]:
        """Figures under their log keys; the same on every worker."""
        mine = embed(model, self.split.share(distributed.rank(), distributed.world_size()), device)
        parts = distributed.gather_objects(mine)
        whole = Embedded(*([one for part in parts for one in getattr(part, name)] for name in Embedded.__annotations__))
        found = gallery(whole, self.attributes)
        if not (found.images.isfinite().all() and found.texts.isfinite().all()):
            raise NonFinite("embeddings of the validation images are not finite; the last checkpoint stays")
        i2t = (dots(found.images, found.texts), found.relevant_texts(), len(found.images))
        t2i = (dots(found.texts, found.images), found.relevant_images(), len(found.texts))
        first, second = ranks(*i2t), ranks(*t2i)
        figures = {
            f"val/{name}/r{k}": 100 * mean(direction.recall(k))
            for name, direction in (("i2t", first), ("t2i", second))
            for k in (1, 5, 10)
        }
        figures["val/rsum"] = rsum(first, second)
        if not found.captioned:
            figures["val/map"] = 50 * (mean(precisions(*i2t).map_at_r) + mean(precisions(*t2i).map_at_r))
        return figures | {"val/score": figures.get("val/map", figures["val/rsum"])}
