"""Primary measures, image by image, and what else is asked of a model."""

from collections.abc import Collection

import numpy as np

from pipelines.errors import DataRefused
from pipelines.evaluate.claims import claims
from pipelines.evaluate.language import space
from pipelines.evaluate.pairs import scores_of
from pipelines.evaluate.retrieval import ranked
from pipelines.evaluate.species import named
from pipelines.evaluate.subject import Subject
from pipelines.experiments.table import Outcome
from xmodal.metrics.classification import hits
from xmodal.metrics.retrieval import Ranks
from xmodal.metrics.streaming import streamed

KS = (1, 5, 10)


def recall_sum(subject: Subject) -> Outcome:
    """What each image of a captioned set adds to rsum: its own recalls, and the mean recalls of its captions.

    Where all images have as many captions, rsum is the mean over the images. Images are independent.
    """
    return recalls(subject, *ranked(subject.gallery))


def host_recall_sum(subject: Subject) -> Outcome:
    """The same by the model's cross-attention host, over all pairs."""
    return recalls(subject, *streamed(scores_of(subject), subject.gallery.owner, len(subject.gallery.images)))


def recalls(subject: Subject, i2t: Ranks, t2i: Ranks) -> Outcome:
    """What each image adds to the recalls of both directions."""
    owner = subject.gallery.owner.numpy()
    values, texts = np.zeros(len(subject.records)), np.bincount(owner, minlength=len(subject.records))
    for k in KS:
        values += 100 * (i2t.recall(k) + np.bincount(owner, weights=t2i.recall(k), minlength=len(texts)) / texts)
    names = [record["sample_id"] for record in subject.records]
    return Outcome(names, values.tolist(), names)


def species(subject: Subject) -> Outcome:
    """Whether each frame of a species that the training rows hold is called by it, 0 or 100; frames of one place are
    one cluster. Raises DataRefused where there is none."""
    found = named(subject)
    if found is None or not found.images:
        raise DataRefused(f"dataset {subject.dataset.name}: no {subject.split} frame of a species that was trained on")
    names = [subject.records[n]["sample_id"] for n in found.images]
    return Outcome(names, (100.0 * hits(found.truth, found.predicted)).tolist(), found.groups)


def claims_of(subject: Subject, wanted: Collection[str]) -> dict[str, float]:
    """Figures of the shared space and of the claims C1 to C8 by their name behind the split, those of `wanted` that
    this model on this data has."""
    if not wanted:
        return {}
    figures = [figure for group in [*space(subject), claims(subject)] for figure in group.figures]
    named = {figure.name.partition("/")[2]: figure.value for figure in figures}
    return {name: named[name] for name in wanted if name in named}
