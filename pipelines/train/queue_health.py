"""What training logs of its queue at each checkpoint: whether stored keys tell when they were made, and how far the key
encoder moves in a step.

`queue/drift` is of the newest keys alone, those that the checkpoint's own step stored: one movement of the key encoder
lies between them and the same images encoded now. The drift of older keys needs their images; `xmodal evaluate` reads
and encodes these again (C1).
"""

import math

import torch
from torch import Tensor

from xmodal import distributed
from xmodal.batch import Batch
from xmodal.metrics.versions import drift, version_leak
from xmodal.model import CrossModalModel

MOST = 8192
"""Stored keys that a leak is measured on, evenly spread over the queue: what bounds its time."""


@torch.no_grad()
def queue_health(model: CrossModalModel, batch: Batch) -> dict[str, float]:
    """After the step of `batch`: one step's drift of its own keys, and the version leak of all stored ones; the same on
    every worker.

    What the queue cannot tell (it is empty, or all of one step) is left out. Nothing of the model changes.
    """
    every = model.queue.slots
    some = every[torch.linspace(0, len(every) - 1, min(MOST, len(every)), device=every.device).round().long()]
    rows, steps = model.queue.rows(some), model.queue.step_written[some].cpu()
    leaks = {f"queue/leak_{side}": version_leak(getattr(rows, side).cpu(), steps) for side in ("image", "text")}
    found = {"queue/drift": _drift_of_a_step(model, batch), **leaks}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _drift_of_a_step(model: CrossModalModel, batch: Batch) -> float:
    """Mean 1 - cos of the image keys that this step stored and the same images by the key encoder now; NaN where none
    of them was stored."""
    stored, here = _stored(model, batch)
    training = model.training
    model.eval()
    towers = model.key.encoder
    now = towers.image_vectors(towers.image(batch.image))
    model.train(training)
    apart = torch.from_numpy(drift(stored, now)).to(here.device)
    total, count = distributed.sum_across(torch.stack([apart[here].sum(), here.sum().double()])).tolist()
    return total / count if count else math.nan


def _stored(model: CrossModalModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """(B, D) stored image key of each local row, and whether it has one."""
    queue = model.queue
    rows = queue.rows((queue.step_written == batch.step).nonzero()[:, 0])
    same = batch.sample_id[:, None] == rows.sample_id[None]
    here = same.any(1) & batch.valid
    if len(rows) == 0:
        return rows.image.new_zeros(len(batch), rows.image.shape[1]), here
    return rows.image[same.int().argmax(1)], here
