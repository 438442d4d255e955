"""Standard image classification: a set whose texts name classes, each text shared by many images.

Any label is a class here, not taxa alone: an image is given the training text that fits it best.
"""

import json
from collections import Counter

import numpy as np

from pipelines.evaluate.subject import Subject
from pipelines.gallery import Embedded
from pipelines.report.content import FigureGroup
from xmodal.metrics import baselines, tables
from xmodal.metrics.classification import hits
from xmodal.metrics.figure import Figure

FIRST = 5
NOTE = "Nearest neighbours and linear probe on the image vectors stand under C8."


def class_texts_of(subject: Subject) -> list[str]:
    """The classes' texts, sorted: those of the training rows, where each image has one text and each text several
    images; else none, as in a set of written captions or of taxa."""
    if subject.gallery.claiming:
        return []
    counts = Counter(subject.train["captions"].to_pylist())
    texts = [[one["text"] for one in json.loads(document)] for document in counts]
    named = len(texts) > 1 and all(len(own) == 1 for own in texts) and min(counts.values()) > 1
    return sorted(own[0] for own in texts) if named else []


def labels(found: Embedded, classes: list[str]) -> list[str | None]:
    """The class of each row; None where its text is none of the classes', and in a set without classes."""
    texts, known = [own[0]["text"] for own in found.captions], set(classes)
    return [text if text in known else None for text in texts]


def groups(subject: Subject) -> list[FigureGroup]:
    """Micro and macro accuracy, and among the first five, beside a guess and the largest class; nothing for other
    sets."""
    classes = class_texts_of(subject)
    given = labels(subject.embedded, classes)
    asked = [n for n, label in enumerate(given) if label is not None]
    if not asked:
        return []
    truth = [label for label in given if label is not None]
    order = np.random.default_rng(0).permutation(len(classes))
    vectors = subject.model.class_vectors([[classes[n]] for n in order])
    best = (subject.gallery.images[asked] @ vectors.T).topk(min(FIRST, len(classes))).indices.tolist()
    first = [[classes[order[n]] for n in row] for row in best]
    rows = _figures(subject, truth, first, len(classes), [subject.groups[n] for n in asked])
    left_out = len(given) - len(asked)
    told = f" {left_out} images of texts that no training image has are left out." if left_out else ""
    return [FigureGroup("Classes", rows, f"{len(classes)} classes to choose from, by their texts.{told} {NOTE}")]


def _figures(
    subject: Subject, truth: list[str], first: list[list[str]], classes: int, resampled: list[str]
) -> list[Figure]:
    right = hits(truth, [row[0] for row in first])
    within = np.array([float(label in row) for label, row in zip(truth, first, strict=True)])
    taught = [json.loads(document)[0]["text"] for document in subject.train["captions"].to_pylist()]
    largest = hits(truth, baselines.largest_class(taught, len(truth)))
    prefix, guess, k = f"{subject.split}/classes", 1 / classes, len(first[0])
    told = (
        ("micro", "Class right, of all images", right, guess, None),
        ("macro", "Class right, classes weighted equally", right, guess, truth),
        ("top5_micro", f"Class among the first {k}, of all images", within, k * guess, None),
        ("largest_class", "Largest training class, for every image", largest, guess, None),
    )
    return [
        tables.share(f"{prefix}/{key}", label, values, chance, resampled, weighted)
        for key, label, values, chance, weighted in told
    ]
