"""One training run of the toy, and what its queue and space are like at the end."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.shortcut.toy import BATCH, SPECIES, Toy, wordpiece
from xmodal.batch import Batch
from xmodal.metrics.space import uniformity
from xmodal.metrics.versions import drift, version_leak
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.settings import parse

STEPS = 600
EVERY = 50
"""Steps between points of the curves."""
LATE = 4
"""Points at the end of a run whose leaks are averaged."""
QUEUE = 1024
PLAIN: dict[str, Any] = {
    "embed_dim": 32,
    "image": {"kind": "vit", "image_size": 16, "width": 32, "depth": 0},
    "text": {"kind": "transformer", "length": 3, "width": 32, "depth": 0},
    "momentum": {"coefficient": 0.99},
    "queue": {"size": QUEUE},
    "temperature": {"initial": 0.07, "learnable": False},
    "tasks": {"itc": {"fn_policy": "none"}},
    "caption_length": 3,
}
"""Single positive: every other key counts as a negative, as in MoCo and USER."""
VARIANTS: dict[str, dict[str, Any]] = {
    "single positive": {},
    "masked": {"tasks": {"itc": {"fn_policy": "mask"}}},
    "multi-positive": {"tasks": {"itc": {"fn_policy": "soft"}}},
    "refreshed": {"queue": {"size": QUEUE, "refresh": {"every": 1}}},
    "consistency": {"tasks": {"itc": {"fn_policy": "none"}, "cons": {}}},
}
"""What each changes of PLAIN."""


@dataclass(frozen=True)
class Point:
    """One moment of a run. A leak of 0.5 = a key does not tell when it was made."""

    step: int
    leak: float
    """Of the stored image keys."""
    control: float
    """The same of the same images encoded now."""
    drift: float
    """Mean 1 - cos of a stored image key and the same image encoded now."""
    uniformity: float
    accuracy: float
    """Share of held-out images whose species' text is nearest."""


def late(points: Sequence[Point]) -> float:
    """Mean leak of the last LATE points: single moments of a queue differ, and right after a refresh it looks best."""
    return sum(point.leak for point in points[-LATE:]) / LATE


def run(variant: str, seed: int = 0, steps: int = STEPS, every: int = EVERY) -> list[Point]:
    """Trains one variant; points at every `every` steps and at the end."""
    toy, points = Toy(seed), []
    torch.manual_seed(seed)
    model = CrossModalModel(parse(ModelSettings, PLAIN | VARIANTS[variant]), wordpiece(), attributes=1, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    stored: deque[Batch] = deque(maxlen=QUEUE // BATCH)
    held = toy.held_out(4 * SPECIES)
    for step in range(steps):
        batch = toy.batch(step)
        losses = model(batch)
        optimizer.zero_grad(set_to_none=True)
        torch.stack([model.weights[name] * loss for name, loss in losses.items()]).sum().backward()
        optimizer.step()
        model.after_step(step)
        stored.append(batch)
        if (step + 1) % every == 0 or step + 1 == steps:
            points.append(_point(model, stored, held, toy, step + 1))
    return points


@torch.no_grad()
def _point(model: CrossModalModel, stored: deque[Batch], held: Batch, toy: Toy, step: int) -> Point:
    rows, written = model.queue.ordered()
    now = torch.cat([_key_images(model, batch) for batch in stored])[-len(rows) :]
    vectors, texts = model.encode_image(held.image), model.encode_text(toy.captions().text, toy.captions().text_mask)
    right = (vectors @ texts.T).argmax(1) == held.caption_id
    return Point(
        step,
        version_leak(rows.image, written),
        version_leak(now, written),
        float(drift(rows.image, now).mean()),
        uniformity(rows.image),
        float(right.double().mean()),
    )


def _key_images(model: CrossModalModel, batch: Batch) -> Tensor:
    towers = model.key.encoder
    return towers.image_vectors(towers.image(batch.image))
