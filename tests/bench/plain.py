"""Preparing images the plain way: a process pool, each process making one Parquet part. It imports nothing of prepare.

`squeezed` is what a first script does with an image: decode at full size, resize with Pillow. `restored` is
img2dataset's way (img2dataset/resizer.py, resize mode no): OpenCV, INTER_AREA, a JPEG of quality 95.
"""

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps

from xmodal.transforms import PixelSettings, prepare_image

PART_ROWS = 1024
Row = Callable[[bytes, PixelSettings], dict[str, Any]]
"""What is stored of an image file beside its key and sha256."""


def ours(data: bytes, settings: PixelSettings) -> dict[str, Any]:
    """All that prepare makes of the pixels."""
    return prepare_image(data, settings)._asdict()


def squeezed(data: bytes, settings: PixelSettings) -> dict[str, Any]:
    """Full decode, EXIF turn, bicubic resize and JPEG, all by Pillow."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    stream = io.BytesIO()
    side = (settings.size, settings.size)
    image.resize(side, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=settings.quality)
    return {"jpeg": stream.getvalue()}


def restored(data: bytes, settings: PixelSettings) -> dict[str, Any]:
    """Full decode, resize by area and JPEG, all by OpenCV; it turns by EXIF while it decodes."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    small = cv2.resize(image, (settings.size, settings.size), interpolation=cv2.INTER_AREA)
    return {"jpeg": cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()}


def prepare(archive: Path, target: Path, settings: PixelSettings, workers: int, row: Row) -> int:
    """Every JPEG below `archive` into Parquet parts of at most PART_ROWS rows below `target`; returns the rows."""
    files = sorted(archive.rglob("*.jpg"))
    size = min(PART_ROWS, -(-len(files) // workers))
    groups = [files[start : start + size] for start in range(0, len(files), size)]
    return pooled(groups, target, settings, workers, row)


def pooled(groups: list[list[Path]], target: Path, settings: PixelSettings, workers: int, row: Row) -> int:
    """Each group into a part, in fresh processes: forking one that runs Ray's threads is not safe."""
    target.mkdir(parents=True)
    make = partial(write_part, target=target, settings=settings, row=row)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=one_thread) as pool:
        return sum(pool.map(make, range(len(groups)), groups))


def one_thread() -> None:
    """A process is one core's work, torch's and OpenCV's alike."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def write_part(number: int, files: list[Path], target: Path, settings: PixelSettings, row: Row) -> int:
    """Reads `files`, stores what `row` makes of each; returns the rows."""
    rows = []
    for file in files:
        data = file.read_bytes()
        rows.append({"key": str(file), "sha256": hashlib.sha256(data).digest(), **row(data, settings)})
    pq.write_table(pa.Table.from_pylist(rows), target / f"{number}.parquet", compression="none", use_dictionary=False)
    return len(rows)
