"""Generated captions and the shape of the shared space."""

import json

import numpy as np

from pipelines.evaluate.subject import Subject
from pipelines.evaluate.thumbnails import picture
from pipelines.report.content import CaptionExample, Captions, FigureGroup
from xmodal.metrics import baselines, tables
from xmodal.metrics.captions import score

SHOWN = 12
"""Captions shown."""


def captions(subject: Subject, seed: int = 0) -> tuple[list[FigureGroup], Captions]:
    """BLEU-4 and CIDEr-D beside a constant caption; empty for a model without a captioner."""
    if not subject.model.captions_images:
        return [], Captions()
    images, generated = subject.written
    references = [[one["text"] for one in subject.embedded.captions[n]] for n in images]
    usual = baselines.most_frequent(
        [one["text"] for text in subject.train["captions"].to_pylist() for one in json.loads(text)]
    )
    rows = tables.captions(
        subject.split,
        score(generated, references),
        score([usual] * len(images), references),
        [subject.groups[n] for n in images],
    )
    drawn = np.random.default_rng(seed).permutation(len(images))[:SHOWN]
    examples = [CaptionExample(picture(subject, images[n]), generated[n], references[n]) for n in drawn]
    written = "" if subject.model.beams == 1 else f"Written by beam search with {subject.model.beams} beams."
    return [FigureGroup("Captions", rows, written)], Captions(examples)


def space(subject: Subject) -> list[FigureGroup]:
    """Alignment, uniformity, modality gap, effective rank and the information bound of one pair an image."""
    owner = subject.gallery.owner.numpy()
    images, first = np.unique(owner, return_index=True)
    groups = [subject.groups[n] for n in images]
    found = subject.gallery
    rows = tables.shape(subject.split, found.images[images], found.texts[first], groups, subject.temperature)
    return [FigureGroup("Shared space", rows, "One text an image.")]
