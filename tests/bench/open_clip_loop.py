"""The multi-task step against open_clip's own training loop, over a CLIP of the same shape.

`python -m tests.bench.open_clip_loop [DEVICE [PRECISION]]`, where open_clip_torch is installed (measured with 3.3.0).
The reference is `train_one_epoch` of `open_clip_train`: its model, its loss, torch's AdamW, no gradient clipping, and
texts that always have all 24 places, as its tokenisers make them. Images are bytes on both sides; the reference's
loader makes them floats, as its transforms would.
"""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tests.bench.frame import Comparison, Side, compare, show
from tests.bench.step import LONGEST, PIECES, StepBench, drawn_batch, drawn_lengths

PRECISIONS = {"fp32": "fp32", "bf16": "amp_bf16"}
"""By our name, open_clip's."""


class Loop:
    """open_clip's side: an epoch of its loop is a run of `steps` steps."""

    def __init__(self, bench: StepBench):
        from open_clip.loss import ClipLoss  # pyright: ignore[reportMissingImports]
        from open_clip.model import CLIP  # pyright: ignore[reportMissingImports]

        image = {"image_size": 224, "patch_size": 16, "layers": 12, "width": bench.width}
        text = {"context_length": LONGEST, "vocab_size": PIECES, "layers": 6, "width": bench.width}
        head = bench.width // bench.heads
        self.model: Any = CLIP(256, image | {"head_width": head}, text | {"heads": bench.heads}, output_dict=True)
        self.model.to(bench.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4, betas=(0.9, 0.98), weight_decay=0.05)
        self.loss, self.bench, self.epochs = ClipLoss(), bench, 0

    def run(self) -> int:
        """An epoch; returns its samples."""
        from open_clip_train.train import train_one_epoch  # pyright: ignore[reportMissingImports]

        loader = Loader(self.epochs * self.bench.steps, self.bench.steps, self.bench.rows)
        data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
        train_one_epoch(self.model, data, self.loss, self.epochs, self.optimizer, None, None, None, self._arguments())
        self.epochs += 1
        return loader.num_samples

    def _arguments(self) -> SimpleNamespace:
        said = {"device": self.bench.device, "precision": PRECISIONS[self.bench.precision]}
        off = {"distill": False, "horovod": False, "wandb": False, "log_local": False, "grad_clip_norm": None}
        one = {"accum_freq": 1, "world_size": 1, "rank": 0, "local_rank": 0}
        rest = {"skip_scheduler": True, "log_every_n_steps": 10**9, "batch_size": self.bench.rows}
        return SimpleNamespace(**said, **off, **one, **rest)


class Loader:
    """The batches that our side sees, as open_clip's data loaders give them."""

    def __init__(self, first: int, steps: int, rows: int):
        self.first, self.num_batches, self.rows, self.num_samples = first, steps, rows, steps * rows

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        from open_clip.constants import (  # pyright: ignore[reportMissingImports]
            OPENAI_DATASET_MEAN,
            OPENAI_DATASET_STD,
        )

        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
        for step in range(self.first, self.first + self.num_batches):
            batch = drawn_batch(step, drawn_lengths(step, self.rows))
            texts = torch.zeros(self.rows, LONGEST, dtype=torch.long)
            texts[:, : batch.text.shape[1]] = batch.text
            yield (batch.image / 255 - mean) / std, texts


def comparisons(device: str = "cpu", precision: str = "fp32") -> Iterator[Comparison]:
    """The whole step, and ITC alone, which does the same work beside queue and key encoder."""
    torch.set_num_threads(1)
    bench = StepBench(device, precision)
    theirs = Loop(bench)
    for title in ("ITC", "ITC + ITM + LM"):
        about = f"train step, {title}, {bench.rows} rows, width {bench.width}, {precision}, {device}"
        yield compare(
            about, "sample", Side("xmodal", bench.ours(bench.tasks()[title]).run), Side("open_clip", theirs.run)
        )


if __name__ == "__main__":
    show(comparisons(*sys.argv[1:3]))
