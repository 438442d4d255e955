"""Predicting image files: reading and preprocessing alone, the encoder's forward apart, and the whole.

Against the loop that a user would write (Pillow opens, converts and resizes a file, the encoder takes it, one by one),
and against open_clip's way: bicubic to the shorter side, the middle, normalised, in batches."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from infra.storage import open_store
from pipelines.predictions.folder_frames import FilePiece
from pipelines.sources.archive import Archive
from tests.bench.frame import Comparison, Side, compare
from tests.bench.photographs import CAMERAS, photographs
from xmodal.inference import Inference
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.settings import parse
from xmodal.transforms import PixelSettings
from xmodal.wordpiece import WordPiece

FILES = 8
SIDE = 224
REPEATS = 5
MODEL = {
    "embed_dim": 128,
    "image": {"kind": "vit", "image_size": SIDE, "width": 192, "depth": 12, "heads": 3},
    "text": {"kind": "transformer", "width": 64, "depth": 1},
    "tasks": {"itm": {"weight": 0}, "lm": {"weight": 0}},
}
"""ViT-Ti/16 and a small text encoder, untrained."""
MEAN, SPREAD = (torch.tensor(one)[:, None, None] for one in ((0.481, 0.458, 0.408), (0.269, 0.261, 0.276)))


def comparisons() -> Iterator[Comparison]:
    """On photographs of 12 and of 3 megapixels."""
    model = untrained()
    for camera in CAMERAS[:2]:
        with tempfile.TemporaryDirectory(prefix="xmodal-bench-") as folder:
            paths = [Path(folder) / f"{n}.jpg" for n in range(FILES)]
            for path, data in zip(paths, photographs(camera, FILES), strict=True):
                path.write_bytes(data)
            archive = Archive(open_store(folder))
            piece = FilePiece(archive, "bench", tuple(archive.stream()))
            yield from _compared(camera.name, model, piece, paths)


def _compared(camera: str, model: Inference, piece: FilePiece, paths: list[Path]) -> Iterator[Comparison]:
    ours = {
        "reading and preprocessing": lambda: model.pixels_of([path.read_bytes() for path in paths]),
        "whole": lambda: piece.looked(model),
    }
    theirs: dict[str, dict[str, Callable[[], object]]] = {
        "the plain loop": {
            "reading and preprocessing": lambda: [plain(path) for path in paths],
            "whole": lambda: [model.image_vectors(plain(path)) for path in paths],
        },
        "open_clip's way": {
            "reading and preprocessing": lambda: [clip(path) for path in paths],
            "whole": lambda: encoded(model, torch.stack([clip(path) for path in paths])),
        },
    }
    for what, act in ours.items():
        for name, reference in theirs.items():
            title = f"{camera}, {what}, against {name}"
            yield compare(title, "image", _side("xmodal predict", act), _side(name, reference[what]), REPEATS)
    pixels = model.pixels_of([path.read_bytes() for path in paths])
    batch, single = lambda: model.image_vectors(pixels), lambda: [model.image_vectors(one[None]) for one in pixels]
    yield compare(
        f"{camera}, the encoder alone", "image", _side("in a batch", batch), _side("one by one", single), REPEATS
    )


def _side(name: str, act: Callable[[], object]) -> Side:
    def run() -> float:
        act()
        return FILES

    return Side(name, run)


def untrained() -> Inference:
    """A model as `predict` loads one."""
    torch.manual_seed(0)
    wordpiece = WordPiece.train(["a fox at night", "a deer by day"] * 4, 64)
    network = CrossModalModel(parse(ModelSettings, MODEL), wordpiece, 4).eval().requires_grad_(False)
    return Inference(network, {}, wordpiece, {}, PixelSettings(size=SIDE), torch.device("cpu"), 1)


def plain(path: Path) -> Tensor:
    """(1, 3, SIDE, SIDE) uint8."""
    image = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def clip(path: Path) -> Tensor:
    """(3, SIDE, SIDE) normalised, as open_clip's `image_transform` makes it for evaluation."""
    image = Image.open(path)
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE)).convert("RGB")
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - MEAN) / SPREAD


@torch.no_grad()
def encoded(model: Inference, pixels: Tensor) -> Tensor:
    return model.network.encode_image(pixels)
