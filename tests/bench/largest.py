"""The most rows that a worker's memory holds, by size of the image encoder: `python -m tests.bench.largest`.

Encoders are the built-in ones in the shapes of ViT-S, ViT-B and ViT-L at 224 pixels, beside a text encoder, a fusion
encoder and a decoder of 6 blocks each, all of the image encoder's width, trained by ITC, ITM and LM with a queue of
65,536 keys. Counted by `pipelines.memory`, which says what is left out; nothing is trained.
"""

import gc
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.memory import activations, standing
from pipelines.train.samples import PixelImages, SampleReader, TokenTexts
from pipelines.train.settings import TrainSettings
from xmodal.encoders.transformer import Transformer
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.recompute import recompute
from xmodal.settings import parse
from xmodal.transforms import AugmentSettings
from xmodal.wordpiece import WordPiece

SHAPES = {"ViT-S/16": (384, 12, 6), "ViT-B/16": (768, 12, 12), "ViT-L/16": (1024, 24, 16)}
"""Width, depth and heads."""
DEVICES = {"16 GB": 16e9, "24 GB": 24e9, "40 GB": 40e9, "80 GB": 80e9}
KEPT = 0.8
"""Share of a device's memory that is counted on: the rest is for what no figure has."""
WAYS = {"fp32": ("fp32", False), "bf16": ("bf16", False), "bf16, recomputed": ("bf16", True)}
"""Precision, and whether activations are computed again."""


@dataclass(frozen=True)
class Measured:
    """A model: its trained weights, bytes that stay, and bytes of activations of one row."""

    weights: int
    standing: int
    row: float

    def rows(self, memory: float) -> int:
        """Rows of one worker that `memory` bytes hold."""
        return max(0, int((KEPT * memory - self.standing) / self.row))


def measured(shape: tuple[int, int, int], precision: str, again: bool) -> Measured:
    width, depth, heads = shape
    six: dict[str, Any] = {"width": width, "depth": 6, "heads": heads}
    settings = parse(
        ModelSettings,
        {
            "image": {"kind": "vit", "width": width, "depth": depth, "heads": heads},
            "text": {"kind": "transformer", **six},
            "queue": {"size": 65_536},
            "tasks": {"itc": {}, "itm": {"fusion": six}, "lm": {"decoder": six}},
        },
    )
    words = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(8187))])
    model, train = CrossModalModel(settings, words, 4), parse(TrainSettings, {"precision": precision})
    if again:
        recompute(model)
    texts = TokenTexts(Transformer(kind="transformer"), words.to_json(), 32)
    reader = SampleReader(PixelImages(224, AugmentSettings(), 0), texts, words.to_json(), settings.caption_length, 4, 0)
    stay = sum(standing(model, workers=8).values())
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    return Measured(trained, stay, activations(model, train, reader, 64, 64) / 64)


def main() -> None:
    torch.set_num_threads(1)
    print("model, way | trained weights | stay | a row |", " | ".join(DEVICES))
    for name, shape in SHAPES.items():
        for way, (precision, again) in WAYS.items():
            found = measured(shape, precision, again)
            gc.collect()  # the hooks of the count hold the model in cycles
            rows = " | ".join(f"{found.rows(memory):,}" for memory in DEVICES.values())
            told = f"{found.weights / 1e6:,.0f} M | {found.standing / 1e9:.1f} GB | {found.row / 1e6:,.0f} MB | {rows}"
            print(f"{name}, {way} | {told}", flush=True)


if __name__ == "__main__":
    main()
