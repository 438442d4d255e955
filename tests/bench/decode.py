"""Decoding one JPEG to 224 x 224 in memory, one thread: against the full decode of the field, and the decode's floor.

The sides: Pillow's full decode, copy to RGB and bicubic resize (what open_clip's loader does before ToTensor); OpenCV's
full decode with INTER_AREA, with and without the second JPEG that img2dataset writes; and libjpeg-turbo at scale 1/8
and nothing else, below which no decoder of whole JPEGs gets."""

import io
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch
from PIL import Image
from simplejpeg import decode_jpeg
from torch import Tensor
from torch.nn.functional import interpolate

from infra.storage import open_store
from pipelines.prepare.images import File, PixelTask, ReadPixels
from pipelines.sources.archive import ArchiveEntry
from tests.bench.frame import Comparison, Side, compare
from tests.bench.photographs import CAMERAS, Camera, photographs
from tests.bench.plain import one_thread
from xmodal.decoding import decode, pixel_reader
from xmodal.transforms import PixelSettings, prepare_image, resized

FILES = 2
REPEATS = 7
SIDE = 224


@dataclass(frozen=True)
class Note:
    """A line among the comparisons."""

    text: str

    def lines(self) -> list[str]:
        return [self.text]


def comparisons() -> Iterator[Comparison | Note]:
    """Each of ours against each reference, on each kind of photograph; then the memory of a worker."""
    one_thread()
    for camera in CAMERAS:
        files = photographs(camera, FILES)
        yield Note(f"{camera.name}: {FILES} of {camera.width} x {camera.height}, {camera.bits(files):.2f} bits a pixel")
        yield _quality(files)
        yield from _compared(camera, files)
    yield worker_memory(CAMERAS[0])


def _compared(camera: Camera, files: list[bytes]) -> Iterator[Comparison | Note]:
    ours = {"Pillow": PixelSettings(size=SIDE), "simplejpeg": PixelSettings(size=SIDE, decoder="simplejpeg")}
    for name, settings in ours.items():
        small, stored = _small(settings), _stored(settings)
        for theirs, reference, mine in references(small, stored):
            title = f"{camera.name}, ours by {name}, against {theirs}"
            yield compare(
                title, "image", _side(f"xmodal, {name}", mine, files), _side(theirs, reference, files), REPEATS
            )


Reference = tuple[str, Callable[[bytes], object], Callable[[bytes], object]]


def references(small: Callable[[bytes], object], stored: Callable[[bytes], object]) -> Iterator[Reference]:
    """What is compared with, and which of our two it is compared with: pixels, or the stored JPEG."""
    yield "Pillow full, bicubic", pillow_full, small
    yield "OpenCV full, INTER_AREA", opencv_area, small
    yield "img2dataset's way (OpenCV, second JPEG)", opencv_stored, stored
    yield "scale 1/8 decode alone", floor, small


def _side(name: str, act: Callable[[bytes], object], files: list[bytes]) -> Side:
    return Side(name, lambda: len([act(data) for data in files]))


def _small(settings: PixelSettings) -> Callable[[bytes], Tensor]:
    """Our decode and resize."""
    read = pixel_reader(settings.decoder)
    side = None if settings.exact else 2 * settings.size
    return lambda data: resized(decode(data, side, 16, 100.0, read), settings)


def _stored(settings: PixelSettings) -> Callable[[bytes], bytes]:
    """All of ours: checks, turn, infrared and the small JPEG too."""
    return lambda data: prepare_image(data, settings).jpeg


def pillow_full(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.array(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def opencv_area(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def opencv_stored(data: bytes) -> np.ndarray:
    """At img2dataset's default quality."""
    return cv2.imencode(".jpg", opencv_area(data), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]


def floor(data: bytes) -> np.ndarray:
    return decode_jpeg(data, min_height=1, min_width=1)


def antialiased(data: bytes) -> Tensor:
    """(3, SIDE, SIDE) float64: the reference of the signal-to-noise ratios, from the whole image in floating point."""
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(data)))).permute(2, 0, 1)[None].double()
    return interpolate(pixels, (SIDE, SIDE), mode="bicubic", antialias=True)[0].clamp(0, 255)


def psnr(pixels: Tensor, data: bytes) -> float:
    """Decibels between a small image and the reference."""
    error = (pixels.double() - antialiased(data)).square().mean().item()
    return 10 * float(np.log10(255**2 / error))


def _quality(files: list[bytes]) -> Note:
    ways = {
        "ours": _small(PixelSettings(size=SIDE)),
        "Pillow full": lambda data: _chw(pillow_full(data)),
        "OpenCV full, INTER_AREA": lambda data: _chw(opencv_area(data)[:, :, ::-1].copy()),
    }
    told = ", ".join(f"{name} {statistics.median(psnr(way(d), d) for d in files):.1f} dB" for name, way in ways.items())
    return Note(f"  PSNR against an antialiased resize of the whole image in floating point: {told}")


def _chw(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def worker_memory(camera: Camera) -> Note:
    """What a worker holds of such photographs."""
    jpegs = photographs(camera, FILES)
    grown = grown_in_a_fresh_process([jpegs[n % FILES] for n in range(48)])
    return Note(
        f"a worker over 48 files of {camera.name}, {len(jpegs[0]) / 1e6:.1f} MB each: "
        f"{grown / 1e6:.0f} MB above the process at rest"
    )


def grown_in_a_fresh_process(jpegs: list[bytes]) -> int:
    """Bytes that a worker's process grows by at most over one item of these files."""
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for n, data in enumerate(jpegs):
            Path(folder, f"{n:03}.jpg").write_bytes(data)
        return pool.submit(grown_by_an_item, folder).result()


def grown_by_an_item(folder: str) -> int:
    """Bytes that this process's peak lies above what it held before it read the files of `folder` as one item. Linux:
    writing 5 to clear_refs forgets the peak so far."""
    torch.set_num_threads(1)
    store = open_store(folder)
    files = [File(ArchiveEntry(entry.key, entry.size, entry.etag), entry.key) for entry in store.list()]
    worker, settings = ReadPixels(), PixelSettings(size=SIDE)
    with tempfile.TemporaryDirectory() as target:
        home = open_store(target)
        worker(PixelTask("warm", "survey", store, home, home, files[:1], settings))
        before = psutil.Process().memory_info().rss
        Path("/proc/self/clear_refs").write_text("5")
        worker(PixelTask("item", "survey", store, home, home, files, settings))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024 - before
