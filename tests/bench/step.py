"""The multi-task step (ITC with queue, ITM, LM, key encoder) against a plain in-batch CLIP step, same encoders.

`python -m tests.bench.step [DEVICE]`.
"""

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.bench.frame import Comparison, Side, compare, show
from xmodal.batch import Batch
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.settings import parse
from xmodal.wordpiece import WordPiece

ROWS, STEPS = 64, 4
SETTINGS: dict[str, Any] = {
    "embed_dim": 128,
    "image": {"kind": "vit", "image_size": 96, "width": 128, "depth": 4},
    "text": {"kind": "transformer", "width": 128, "depth": 4},
    "queue": {"size": 4096},
}
TASKS = {"ITC": {"itc": {}}, "ITC + LM": {"itc": {}, "lm": {}}, "ITC + ITM + LM": {"itc": {}, "itm": {}, "lm": {}}}


def comparisons(device: str = "cpu") -> Iterator[Comparison]:
    """One comparison a set of tasks; every side trains on the same batches with AdamW."""
    torch.set_num_threads(1)
    words = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(995))])
    plain = _stepper(CLIP(parse(ModelSettings, SETTINGS), words), device)
    for title, tasks in TASKS.items():
        ours = _stepper(CrossModalModel(parse(ModelSettings, SETTINGS | {"tasks": tasks}), words, 4), device)
        sides = Side("xmodal", ours), Side("in-batch CLIP", plain)
        yield compare(f"train step, {title}, {ROWS} samples, {device}", "sample", *sides)


class CLIP(nn.Module):
    """The reference: the same two encoders and heads, symmetric cross entropy over the batch (Radford et al., 2021)."""

    def __init__(self, settings: ModelSettings, words: WordPiece):
        super().__init__()
        self.towers = CrossModalModel(settings, words, 4).query
        self.temperature, self.weights = nn.Parameter(torch.tensor(0.07)), {"clip": 1.0}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        image = self.towers.image_vectors(self.towers.image(batch.image))
        text = self.towers.text_vectors(self.towers.text(batch.text, batch.text_mask), batch.text_mask)
        logits, own = image @ text.T / self.temperature, torch.arange(len(image), device=image.device)
        return {"clip": (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2}

    def after_step(self, step: int) -> None:
        """Nothing follows and nothing is queued."""


def _stepper(model: CrossModalModel | CLIP, device: str) -> Any:
    model.to(device)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)
    position = iter(range(10**9))

    def run() -> int:
        for _ in range(STEPS):
            batch = _batch(next(position)).to(device)
            losses = model(batch)
            optimizer.zero_grad(set_to_none=True)
            torch.stack([model.weights[name] * loss for name, loss in losses.items()]).sum().backward()
            optimizer.step()
            model.after_step(batch.step)
        return STEPS * ROWS

    return run


def _batch(step: int) -> Batch:
    """Random rows with captions of 8 to 24 pieces."""
    generator = torch.Generator().manual_seed(step)
    length = torch.randint(8, 25, (ROWS,), generator=generator)
    mask = torch.arange(24) < length[:, None]
    ids = torch.randint(5, 1000, (ROWS, 24), generator=generator).masked_fill(~mask, 0)
    name = torch.arange(ROWS) + step * ROWS
    return Batch(
        image=torch.randint(0, 256, (ROWS, 3, 96, 96), generator=generator, dtype=torch.uint8),
        text=ids,
        text_mask=mask,
        caption=ids,
        sample_id=name,
        caption_id=name,
        sequence_id=torch.full((ROWS,), -1),
        image_codes=torch.full((ROWS, 4), -1, dtype=torch.int32),
        text_codes=torch.full((ROWS, 4), -1, dtype=torch.int32),
        valid=torch.ones(ROWS, dtype=torch.bool),
        slot=torch.arange(ROWS),
        step=step,
    )


if __name__ == "__main__":
    show(comparisons(*sys.argv[1:2]))
