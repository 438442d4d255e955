"""A model small enough for unit tests, and random batches for it."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xmodal.batch import Batch
from xmodal.encodings import Encodings
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.momentum import MomentumSettings
from xmodal.settings import parse
from xmodal.sizes import Sizes
from xmodal.wordpiece import WordPiece

SETTINGS: dict[str, Any] = {
    "embed_dim": 8,
    "image": {"kind": "vit", "image_size": 16, "width": 8, "depth": 1, "heads": 2},
    "text": {"kind": "transformer", "length": 8, "width": 8, "depth": 1, "heads": 2},
    "queue": {"size": 10},
    "caption_length": 8,
}
FOUR_REGIONS: dict[str, Any] = {"image": SETTINGS["image"] | {"image_size": 32}}
"""Settings of images of 32 pixels."""
FUSION = {"width": 8, "depth": 1, "heads": 2}
ALL_TASKS = {"itc": {}, "itm": {"fusion": FUSION}, "lm": {"decoder": FUSION}}
VOCABULARY = 30
ATTRIBUTES = 3


def wordpiece() -> WordPiece:
    return WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(VOCABULARY - 5))])


def sizes(**changes: Any) -> Sizes:
    """What a task or a host built by itself is told."""
    return replace(Sizes(1, 1, 1, 1, 0, ATTRIBUTES, MomentumSettings(), wordpiece()), **changes)


def settings(**changes: Any) -> ModelSettings:
    return parse(ModelSettings, SETTINGS | changes)


def model(seed: int = 0, **changes: Any) -> CrossModalModel:
    """A tiny model; `changes` replace top-level settings."""
    torch.manual_seed(seed)
    return CrossModalModel(settings(**changes), wordpiece(), ATTRIBUTES, seed)


def batch(rows: int, seed: int = 0, step: int = 0, side: int = 16, **changes: Any) -> Batch:
    """Random rows whose captions differ in length; every sample, caption and sequence is its own. Images are of `side`
    pixels."""
    generator = torch.Generator().manual_seed(1000 * step + seed)
    length = torch.randint(3, 9, (rows,), generator=generator)
    mask = torch.arange(8) < length[:, None]
    ids = torch.randint(5, VOCABULARY, (rows, 8), generator=generator)
    ids[:, 0] = 2
    ids[torch.arange(rows), length - 1] = 3
    ids = ids.masked_fill(~mask, 0)
    name = torch.arange(rows) + 100 * step + 10_000 * seed
    codes = torch.randint(-1, 4, (rows, ATTRIBUTES), generator=generator, dtype=torch.int32)
    made = Batch(
        image=torch.randint(0, 256, (rows, 3, side, side), generator=generator, dtype=torch.uint8),
        text=ids,
        text_mask=mask,
        caption=ids,
        sample_id=name,
        caption_id=name,
        sequence_id=torch.full((rows,), -1),
        image_codes=codes,
        text_codes=torch.where(torch.rand(codes.shape, generator=generator) < 0.5, codes, torch.full_like(codes, -1)),
        valid=torch.ones(rows, dtype=torch.bool),
        slot=torch.arange(rows),
        step=step,
    )
    return replace(made, **changes)


def rows_of(whole: Batch, rows: Tensor) -> Batch:
    """Some rows of a batch; texts are trimmed to the longest among them, as a loader does."""
    part = replace(whole, **{name: column[rows] for name, column in whole.columns().items()})
    length = int(part.text_mask.sum(1).max()) if len(part) else 1
    trimmed = {name: getattr(part, name)[:, :length] for name in ("text", "text_mask", "words")}
    return replace(part, **trimmed)


def step(built: CrossModalModel, optimizer: torch.optim.Optimizer, given: Batch) -> dict[str, float]:
    """One training step as the loop makes it."""
    losses = built(given)
    optimizer.zero_grad(set_to_none=True)
    torch.stack([built.weights[name] * loss for name, loss in losses.items()]).sum().backward()
    optimizer.step()
    built.after_step(given.step)
    return {name: loss.item() for name, loss in losses.items()}


def told(built: CrossModalModel, step: int) -> dict[str, float]:
    """What the loop logs of a model's state."""
    return built.state_metrics(step, {name: one.item() for name, one in built.state(step).items()})


def encodings(built: CrossModalModel, given: Batch) -> Encodings:
    return built.encodings(given)
