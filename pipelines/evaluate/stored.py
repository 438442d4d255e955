"""What a checkpoint's queue holds, beside the very same samples encoded now by the key encoder of the checkpoint.

A queue row names its sample and the step that wrote it, and a step's batch is a function of the recipe and the dataset
version, random changes of its images included: what differs from a stored key is the encoder's movement alone.
"""

from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from pipelines.evaluate.subject import Subject
from pipelines.recipe import Recipe
from pipelines.train.lanes import ReadLane
from pipelines.train.order import WorkItem
from pipelines.train.plan import TrainingPlan
from xmodal.batch import Batch
from xmodal.settings import parse

NEWEST = 1024
"""Stored keys that are encoded again, at most, and whole steps of them."""


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
