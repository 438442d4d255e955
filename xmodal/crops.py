"""Crops of single animals out of a frame, in the geometry of its boxes.

Boxes are relative to the frame as it is seen, after the EXIF turn: (left, top, width, height). A crop is its box with a
margin, made square in pixels where the frame has room, so that an animal keeps its shape.
"""

import math
from collections.abc import Sequence

import numpy as np

from xmodal.transforms import (
    FRAME,
    TURNS,
    PixelSettings,
    PreparedImage,
    decoded_file,
    encode_jpeg,
    prepared_frame,
    resized,
    turn,
    upright_size,
)

Box = tuple[float, float, float, float]


def crop_window(box: Box, margin: float, least: int, width: int, height: int) -> Box:
    """The part of a frame of `width` x `height` pixels that is shown of `box`.

    Its longer side grows by `margin` of it at both ends, to `least` pixels at least, and the shorter one to the same
    length; what would lie outside is moved inside, and only a crop larger than the frame is cut.
    """
    left, top, wide, high = box
    side = max(least, (1 + 2 * margin) * max(wide * width, high * height))
    share_x, share_y = min(1.0, side / width), min(1.0, side / height)
    x = min(max(0.0, left + wide / 2 - share_x / 2), 1.0 - share_x)
    y = min(max(0.0, top + high / 2 - share_y / 2), 1.0 - share_y)
    return x, y, share_x, share_y


def within_window(boxes: np.ndarray, shown: Box) -> np.ndarray:
    """(n, 4) boxes relative to the frame, as boxes relative to the part of it that is `shown`."""
    left, top, width, height = shown
    return (np.asarray(boxes, np.float64).reshape(-1, 4) - [left, top, 0, 0]) / [width, height, width, height]


def prepare_crops(
    data: bytes | None, boxes: Sequence[Box], margin: float, settings: PixelSettings
) -> list[PreparedImage]:
    """One small JPEG for each of `boxes`, in their order; all else is of the whole frame: a grey animal is no infrared
    frame. Raises as `prepare_image`."""
    decoded = decoded_file(data, settings, scale_side(boxes, settings.size))
    width, height = upright_size(decoded)
    frame = prepared_frame(decoded, settings)
    found = []
    for box in boxes:
        shown = crop_window(box, margin, settings.min_side, width, height)
        small = turn(resized(decoded, settings, turned_back(shown, decoded.pending_turn)), decoded.pending_turn)
        found.append(frame._replace(jpeg=encode_jpeg(small, settings.quality)))
    return found


def scale_side(boxes: Sequence[Box], size: int) -> int:
    """Pixels that a side of the frame must keep, so that the crop of the smallest box has twice `size` of its own."""
    least = min(max(width, height) for _, _, width, height in boxes)
    return math.ceil(2 * size / least)


def turned_back(shown: Box, exif: int) -> Box:
    """The part of the frame before its EXIF turn that becomes `shown` by it."""
    quarters, mirrored = TURNS[exif]
    x, y, width, height = shown
    if mirrored:
        x = FRAME[2] - x - width
    for _ in range(quarters):
        x, y, width, height = FRAME[3] - y - height, x, height, width
    return x, y, width, height
