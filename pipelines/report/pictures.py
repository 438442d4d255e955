"""Thumbnails as WebP data addresses, so that the page needs no other file."""

import base64
import io

from PIL import Image

from pipelines.report.rows import Picture


def webp(picture: Picture, side: int, quality: int) -> str:
    """A data address of the picture, `side` pixels wide at most, in the original's proportions where they are known."""
    with Image.open(io.BytesIO(picture.jpeg), formats=("JPEG",)) as image:
        width, height = picture.width or image.width, picture.height or image.height
        scale = min(1.0, side / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=quality, method=6)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
