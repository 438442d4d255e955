"""Primary measures, image by image."""

import numpy as np

from pipelines.dataset import Dataset
from pipelines.experiments.table import Outcome
from pipelines.gallery import Split, embed, gallery
from pipelines.train.samples import SampleReader
from xmodal.metrics.retrieval import dots, ranks
from xmodal.model import CrossModalModel

KS = (1, 5, 10)


def recall_sum(model: CrossModalModel, dataset: Dataset, reader: SampleReader, split: str) -> Outcome:
    """What each image adds to rsum: its own recalls, and the mean recalls of its captions; captioned sets.

    rsum is the mean over images (every image of the set having as many captions); images are independent.
    """
    found = embed(model, Split.of(dataset, reader, (split,)), model.temperature.value.device)
    shown = gallery(found, reader.attributes)
    i2t = ranks(dots(shown.images, shown.texts), shown.relevant_texts(), len(shown.images))
    t2i = ranks(dots(shown.texts, shown.images), shown.relevant_images(), len(shown.texts))
    values = np.zeros(len(shown.images))
    texts = np.bincount(shown.owner.numpy(), minlength=len(values))
    for k in KS:
        of_texts = np.bincount(shown.owner.numpy(), weights=t2i.recall(k), minlength=len(values))
        values += 100 * (i2t.recall(k) + of_texts / texts)
    names = [record["sample_id"] for record in found.records]
    return Outcome(names, values.tolist(), names)
