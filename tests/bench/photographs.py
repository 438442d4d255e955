"""Photograph-like JPEGs for decoding: noise with a photograph's falling spectrum, so that bits a pixel are real ones.

A scene's luminance falls about as 1 / f (Field 1987); here it is 1 / f**slope in texture whose strength varies over
the frame, on broad light and shade, with sensor grain and two smoother channels of colour.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Camera:
    """Size in pixels, and what sets the bits a pixel."""

    name: str
    width: int
    height: int
    slope: float
    grain: float
    """Standard deviation, grey levels."""
    subsampling: str

    def photograph(self, seed: int) -> bytes:
        """A JPEG of quality 88."""
        generator = np.random.default_rng(seed)
        texture = self._field(generator, self.slope) * np.exp(0.6 * self._field(generator, 2.0))
        grain = self.grain * generator.standard_normal((self.height, self.width), dtype=np.float32)
        light = 118 + 32 * self._field(generator, 2.0) + 14 * texture + grain
        colours = [128 + 12 * self._field(generator, 1.6) for _ in range(2)]
        pixels = np.stack([light, *colours], -1).clip(0, 255).astype(np.uint8)
        stream = BytesIO()
        image = Image.fromarray(pixels, "YCbCr").convert("RGB")
        image.save(stream, "JPEG", quality=88, subsampling=self.subsampling)
        return stream.getvalue()

    def _field(self, generator: np.random.Generator, slope: float) -> np.ndarray:
        """(H, W) float32 noise of amplitude 1 / f**slope and standard deviation 1."""
        down, across = np.fft.fftfreq(self.height)[:, None], np.fft.rfftfreq(self.width)[None, :]
        frequency = np.hypot(down, across)
        frequency[0, 0] = np.inf
        white = np.fft.rfft2(generator.standard_normal((self.height, self.width), dtype=np.float32))
        field = np.fft.irfft2(white / frequency**slope, s=(self.height, self.width)).astype(np.float32)
        return field / field.std()

    def bits(self, jpegs: list[bytes]) -> float:
        """Bits a pixel."""
        return 8 * sum(map(len, jpegs)) / (len(jpegs) * self.width * self.height)


CAMERAS = (
    Camera("12 MP", 4000, 3000, 1.2, 3.2, "4:2:2"),
    Camera("3 MP", 2048, 1536, 1.6, 1.0, "4:2:2"),
    Camera("3 MP, trail camera", 2048, 1440, 1.6, 1.0, "4:2:2"),
)


def photographs(camera: Camera, count: int) -> list[bytes]:
    """Drawn in a process of its own: large arrays that were freed change how the allocator hands out memory, and with
    it the cost of a full decode's page faults."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return list(pool.map(camera.photograph, range(count)))
