"""Region features that come as a file in an image's place, and the picture that stands in for the image.

Sets of region features (SCAN's "precomp" folders) bring no pixels. What a dataset shows of such an image is a picture
of the numbers themselves, a band for each region, so that nothing is taken for a photograph.
"""

import io
import threading

import numpy as np
import torch

from xmodal.decoding import BadImage, Decoded, scaled_grey

MAGIC = b"\x93NUMPY"
SIDE = 64
"""Pixels that the picture has at least in either direction."""
ONE_HEADER = threading.Lock()
"""Held while NumPy reads a header, which it parses as Python: up to 3.12 two threads at it may end in SystemError
(https://github.com/python/cpython/issues/106905)."""


def read_regions(data: bytes) -> np.ndarray:
    """(R, W) floats of an `.npy` file. Raises BadImage where it is none, or holds a number that is not finite."""
    try:
        with ONE_HEADER:
            array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BadImage("truncated", f"not a readable array ({' '.join(str(error).split())})") from None
    if array.ndim != 2 or not array.size or array.dtype.kind != "f":
        raise BadImage("not_image", f"regions are an array (regions, numbers) of floats, not {array.shape}")
    if not np.isfinite(array).all():
        raise BadImage("decode_error", "a number of the region features is not finite")
    return array


def picture(data: bytes) -> Decoded:
    """The stand-in of an `.npy` file of regions: false colour, blue at its smallest number, red at its largest, so that
    it is no infrared frame either."""
    regions = read_regions(data)
    grey = scaled_grey(regions.astype(np.float64))
    for axis, length in enumerate(regions.shape):
        grey = np.repeat(grey, -(-SIDE // length), axis)
    height, width = grey.shape
    pixels = torch.from_numpy(np.stack([grey, np.zeros_like(grey), 255 - grey]))
    return Decoded(pixels, (float(width), float(height)), width, height, 1, 1, "NPY")
