"""Thumbnails as WebP data addresses, so that the page needs no other file."""

import base64
import io

import numpy as np
from PIL import Image, ImageDraw

from pipelines.report.rows import Heat, Picture

GLOW = (255, 140, 20)
"""Colour of attention over the grey picture."""
STRONGEST = 0.8
"""Opacity where a picture's attention is highest."""


def webp(picture: Picture, side: int, quality: int) -> str:
    """A data address of the picture, `side` pixels wide at most, in the original's proportions where they are known."""
    return _address(_small(picture, side), quality)


def heated(heat: Heat, side: int, quality: int) -> str:
    """The same of a picture in grey under its attention, with the boxes' outlines."""
    grey = _small(heat.picture, side).convert("L").convert("RGB")
    strength = heat.weights / max(float(heat.weights.max()), 1e-12)
    mask = Image.fromarray((255 * STRONGEST * strength).round().astype(np.uint8))
    shown = Image.composite(Image.new("RGB", grey.size, GLOW), grey, mask.resize(grey.size, Image.Resampling.BILINEAR))
    pen = ImageDraw.Draw(shown)
    for x, y, width, height in heat.boxes * np.tile(grey.size, 2):
        for colour, line in (("black", 4), ("white", 2)):
            pen.rectangle((x, y, max(x, x + width - 1), max(y, y + height - 1)), outline=colour, width=line)
    return _address(shown, quality)


def _small(picture: Picture, side: int) -> Image.Image:
    with Image.open(io.BytesIO(picture.jpeg), formats=("JPEG",)) as image:
        width, height = picture.width or image.width, picture.height or image.height
        scale = min(1.0, side / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _address(image: Image.Image, quality: int) -> str:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=6)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
