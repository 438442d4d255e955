"""Camera-like JPEGs drawn by numpy, and an archive of them: many files of few drawings, no two files equal."""

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image

from infra.storage import Store
from tests.pipelines.surveys import write_coco

DRAWINGS = 12
PLACES = 16


@cache
def drawing(width: int, height: int, number: int) -> bytes:
    """Smooth noise of four scales with fine grain, quality 88: 1.4 bits a pixel at 2048 x 1536, 2.5 at 224 x 224."""
    generator = np.random.default_rng(number)
    total = np.full((height, width, 3), 110.0)
    for cells, strength in ((3, 40.0), (12, 25.0), (48, 15.0), (160, 8.0)):
        coarse = generator.normal(128, 40, (cells, cells * width // height, 3)).clip(0, 255).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += strength / 40 * (np.asarray(smooth, np.float64) - 128)
    total += generator.normal(0, 3, (height, width, 1))
    stream = io.BytesIO()
    Image.fromarray(total.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def marked(jpeg: bytes, number: int) -> bytes:
    """The same picture with `number` in a comment segment behind the start of image (ITU-T T.81, B.2.4.5)."""
    return jpeg[:2] + b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big") + jpeg[2:]


def write_archive(store: Store, pictures: Sequence[bytes], count: int) -> None:
    """A COCO Camera Traps archive of `count` labelled frames at PLACES places, a folder each: `pictures` in turn, no
    two files alike."""
    images = [
        {"id": str(n), "file_name": f"{n % PLACES:02}/{n:05}.jpg", "location": f"place {n % PLACES}", "category": 1}
        for n in range(count)
    ]
    files = {str(one["file_name"]): marked(pictures[n % len(pictures)], n) for n, one in enumerate(images)}
    write_coco(store, images, files)
