"""Retrieval in both directions, and what right and wrong answers look like."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from pipelines.evaluate.subject import Subject
from pipelines.evaluate.thumbnails import picture
from pipelines.gallery import Gallery
from pipelines.report.content import Answer, Examples, FigureGroup, ImageAnswer, ImageExample, TextExample
from xmodal.metrics import tables
from xmodal.metrics.figure import Figure
from xmodal.metrics.retrieval import Precisions, Ranks, dots, precisions, ranks

SHOWN = 6
"""Examples a direction, and answers an example."""


def ranked(found: Gallery) -> tuple[Ranks, Ranks]:
    """Ranks of both directions: image to text, text to image."""
    i2t = ranks(dots(found.images, found.texts), found.relevant_texts(), len(found.images))
    t2i = ranks(dots(found.texts, found.images), found.relevant_images(), len(found.texts))
    return i2t, t2i


def retrieval(subject: Subject) -> list[FigureGroup]:
    """Instance recall and rsum for captioned sets; any-relevant recall, mAP@R and R-precision for surveys."""
    found, groups, text_groups = subject.gallery, subject.groups, subject.text_groups
    i2t, t2i = ranked(found)
    rows = tables.retrieval(subject.split, "i2t", i2t, groups) + tables.retrieval(
        subject.split, "t2i", t2i, text_groups
    )
    rows.append(tables.recall_sum(subject.split, i2t, t2i, groups, text_groups))
    if not found.captioned:
        first, second = mean_precisions(found)
        rows += tables.precision(subject.split, "i2t", first, groups)
        rows += tables.precision(subject.split, "t2i", second, text_groups)
    rule = "its own caption or image" if found.captioned else "any whose recorded facts entail the text"
    return [FigureGroup("Retrieval", rows, f"Right is {rule}. Intervals resample {subject.resampled}.")]


def mean_precisions(found: Gallery) -> tuple[Precisions, Precisions]:
    """mAP@R and R-precision of both directions."""
    i2t = precisions(dots(found.images, found.texts), found.relevant_texts(), len(found.images))
    t2i = precisions(dots(found.texts, found.images), found.relevant_images(), len(found.texts))
    return i2t, t2i


def untrained(subject: Subject, other: Gallery) -> Figure:
    """The same headline figure of a model of the same shape that has seen no data."""
    found = headline(subject.split, other, subject.groups, subject.text_groups, "untrained/")
    return replace(found, label=f"Untrained model: {found.title}")


def headline(split: str, found: Gallery, groups: Sequence[str], text_groups: Sequence[str], prefix: str = "") -> Figure:
    """rsum for captioned sets, text-to-image mAP@R for surveys."""
    if found.captioned:
        i2t, t2i = ranked(found)
        return tables.recall_sum(f"{prefix}{split}", i2t, t2i, groups, text_groups)
    return tables.precision(f"{prefix}{split}", "t2i", mean_precisions(found)[1], text_groups)[0]


def examples(subject: Subject, seed: int = 0) -> Examples:
    """Queries of both directions drawn by seed, with the best answers, right or wrong."""
    found = subject.gallery
    generator = np.random.default_rng(seed)
    asked = _draw(generator, found.relevant_images(), len(found.texts))
    shown = _draw(generator, found.relevant_texts(), len(found.images))
    return Examples(
        texts=[_text_example(subject, n) for n in asked], images=[_image_example(subject, n) for n in shown], seed=seed
    )


def _draw(generator: np.random.Generator, relevant, queries: int) -> list[int]:
    """Queries that have a right answer, in the drawn order."""
    order = generator.permutation(queries)
    return [int(n) for n in order if relevant(slice(int(n), int(n) + 1)).any()][:SHOWN]


def _text_example(subject: Subject, n: int) -> TextExample:
    found = subject.gallery
    right = found.relevant_images()(slice(n, n + 1))[0]
    best = torch.topk(found.images @ found.texts[n], min(SHOWN, len(found.images))).indices.tolist()
    answers = [ImageAnswer(picture(subject, image), subject.truth(image), bool(right[image])) for image in best]
    return TextExample(found.captions[n], answers, int(right.sum()))


def _image_example(subject: Subject, n: int) -> ImageExample:
    found = subject.gallery
    right = found.relevant_texts()(slice(n, n + 1))[0]
    scores, best = torch.topk(found.texts @ found.images[n], min(SHOWN, len(found.texts)))
    pairs = zip(best.tolist(), scores.tolist(), strict=True)
    answers = [Answer(found.captions[text], bool(right[text]), score) for text, score in pairs]
    return ImageExample(picture(subject, n), subject.truth(n), answers)
