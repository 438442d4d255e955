"""What a checkpoint's queue holds, beside the very same samples encoded now by the key encoder of the checkpoint.

A queue row names its sample and the step that wrote it, and a step's batch is a function of the recipe and the dataset
version, random changes of its images included: what differs from a stored key is the encoder's movement alone.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipelines.evaluate.subject import Subject
from pipelines.recipe import Recipe
from pipelines.train.lanes import ReadLane
from pipelines.train.order import WorkItem
from pipelines.train.plan import TrainingPlan
from xmodal.batch import Batch
from xmodal.metrics.figure import Figure, figure
from xmodal.metrics.intervals import mean, mean_interval
from xmodal.metrics.versions import (
    age_slope,
    chance_cka,
    chance_jaccard,
    drift,
    linear_cka,
    neighbour_jaccard,
    version_leak,
)
from xmodal.queue import Keys
from xmodal.relations import truth
from xmodal.settings import parse

NEWEST = 1024
"""Stored keys that are encoded again, at most, and whole steps of them."""
SLOPE_IMAGES, SLOPE_KEYS = 256, 8192
"""About how many test images and stored keys have their similarities set against age."""


@dataclass(frozen=True)
class Stored:
    """n of the newest rows, oldest first."""

    keys: Tensor
    """(n, D) image keys as they are stored."""
    now: Tensor
    """(n, D) the same images by the key encoder."""
    steps: Tensor
    """(n,) that wrote them."""


def stored(subject: Subject) -> Stored:
    """n may be 0: where a single step holds more than NEWEST rows."""
    rows, steps = subject.model.network.queue.ordered()
    newest = steps[-NEWEST:]
    whole = newest[newest > newest[0]] if len(steps) > NEWEST else newest  # the first of them may be cut
    names, found = rows.sample_id.tolist(), _again(subject, sorted(set(whole.tolist())))
    kept = [n for n in range(len(steps) - len(whole), len(steps)) if (int(steps[n]), names[n]) in found]
    now = [found[int(steps[n]), names[n]] for n in kept]
    return Stored(rows.image[kept].cpu(), torch.stack(now) if now else rows.image[:0].cpu(), steps[kept].cpu())


def _again(subject: Subject, steps: list[int]) -> dict[tuple[int, int], Tensor]:
    """(step, sample id) -> image key of the batches of these steps."""
    plan = TrainingPlan.of(parse(Recipe, subject.model.recipe), subject.dataset)
    threads = torch.get_num_threads()
    reader = ReadLane(plan.lanes())
    torch.set_num_threads(threads)  # a reader takes a single one, beside the training processes
    found = {}
    for step in steps:
        batch = _batch(plan, reader, step)
        vectors = _image_keys(subject, batch)
        found |= {(step, name): vector for name, vector in zip(batch.sample_id.tolist(), vectors, strict=True)}
    return found


def _batch(plan: TrainingPlan, reader: ReadLane, step: int) -> Batch:
    """The global batch of a step, as training saw it."""
    epoch, number = divmod(step, plan.order.batches)
    blocks = [reader.block(WorkItem(epoch, number, 1, lane)) for lane in range(plan.order.lanes)]
    return plan.reader.batch(pa.concat_tables(blocks), step)


@torch.no_grad()
def _image_keys(subject: Subject, batch: Batch) -> Tensor:
    towers = subject.model.network.key.encoder
    return towers.image_vectors(towers.image(batch.image.to(subject.model.device))).cpu()


def queue_figures(subject: Subject, prefix: str) -> list[Figure] | str:
    """Leak, drift, neighbours, CKA, age and staleness of stored keys, or why there are none."""
    network = subject.model.network
    if network.queue.size == 0:
        return "the run stored no keys (model.queue.size 0)"
    rows, steps = network.queue.ordered()
    if len(steps) == 0 or steps.min() == steps.max():
        return "the checkpoint's queue is empty, or all of one step"
    found, every = stored(subject), len(steps)
    again = f"of {len(found.steps)} images, encoded now as training saw them"
    probe = "0.5 = a linear probe cannot tell newer keys from older ones"
    leaks = {
        "leak_image": ("stored image keys tell their version (AUC)", version_leak(rows.image, steps), every, probe),
        "leak_text": ("stored text keys tell their version (AUC)", version_leak(rows.text, steps), every, probe),
        "leak_control": ("the same images encoded now (AUC)", version_leak(found.now, found.steps), len(found.steps),
                         f"control; {again}"),
    }  # fmt: skip
    told = [
        figure(f"{prefix}_{key}", value, 0.5, None, n, "", note, f"C1: {label}")
        for key, (label, value, n, note) in leaks.items()
        if np.isfinite(value)
    ]
    return [
        *told,
        *_moved(prefix, found, again),
        *_slope(subject, prefix, rows, steps),
        _staleness(subject, prefix),
    ]


def _slope(subject: Subject, prefix: str, rows: Keys, steps: Tensor) -> list[Figure]:
    """Whether a text is nearer because it was stored later, of stored texts that are false of a test image; nothing
    where all of these are of one age."""
    some = slice(None, None, max(1, len(subject.gallery.images) // SLOPE_IMAGES))
    every = slice(None, None, max(1, len(steps) // SLOPE_KEYS))
    images, keys, codes = subject.gallery.images[some], rows.text[every].cpu(), rows.text_codes[every].cpu()
    stated = (codes >= 0).any(1)  # captions of a captioned set state nothing: none is of a test image
    false = ~(truth(codes, subject.gallery.image_codes[some])[1].T & stated)
    beta = age_slope(images, keys, (steps.max() - steps)[every].cpu(), false)
    note = f"cos a step of age; {len(images)} test images and {len(keys)} stored texts, pairs that what is recorded "
    note += "denies; 0 = age does not matter"
    label = "C1: slope of similarity over the age of a stored text"
    found = figure(f"{prefix}_age_slope", beta, 0.0, None, int(false.sum()), "", note, label)
    return [found] if np.isfinite(beta) else []


def _moved(prefix: str, found: Stored, again: str) -> list[Figure]:
    """How far stored keys are from what the key encoder makes of their images now."""
    if len(found.steps) < 3:
        return []
    groups, n = found.steps.tolist(), len(found.steps)
    moved, shared = drift(found.keys, found.now), neighbour_jaccard(found.keys, found.now)
    told = (
        ("drift", "drift of stored keys, 1 - cos", moved, None),
        ("jaccard", "10 nearest neighbours shared with the keys encoded now", shared, chance_jaccard(n)),
    )
    rows = [
        figure(f"{prefix}_{key}", mean(values), chance, mean_interval(values, groups), n, "",
               f"{again}; steps resampled", f"C1: {label}")
        for key, label, values, chance in told
    ]  # fmt: skip
    cka, dealt = linear_cka(found.keys, found.now), chance_cka(found.keys, found.now)
    label, note = "C1: stored keys and keys encoded now (linear CKA)", f"1 = alike up to rotation; {again}"
    return [*rows, figure(f"{prefix}_cka", cka, dealt, None, n, "", note, label)]


def _staleness(subject: Subject, prefix: str) -> Figure:
    network, step = subject.model.network, int(subject.model.state["step"])
    age = int(network.queue.age(step))
    value, note = network.settings.momentum.staleness(age, step), f"0 none, 1 all; the oldest key is {age} steps old"
    return figure(f"{prefix}_staleness", value, None, None, len(network.queue), "", note,
                  "C1: staleness of the oldest key")  # fmt: skip
