"""Pictures as files: JPEG, some turned by EXIF, some with EXIF that must not leak, some broken."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pipelines.demo.frames import Box
from pipelines.demo.visits import Frame

PLANTED_NAME = "Zebulon Quixworth"
"""A person who never was, in EXIF and in the deployments: no output of ours may hold it."""
PLANTED_LATITUDE, PLANTED_LONGITUDE = 48.718281, 7.141592
"""Coordinates planted in EXIF; no output of ours may hold them."""
_ORIENTATION, _ARTIST, _GPS = 0x0112, 0x013B, 0x8825


@dataclass(frozen=True)
class Shot:
    """One file of the archive: its frame, the boxes of the subjects in it, and how it is broken, if it is."""

    frame: Frame
    boxes: Sequence[Box]
    width: int
    height: int
    broken: str | None = None  # truncated | empty | web_page


def encode(image: Image.Image, number: int, quality: int) -> bytes:
    """JPEG bytes. Some frames lie on their side with EXIF orientation 6, some carry a name and a position."""
    exif = Image.Exif()
    if number % 97 == 5:
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[_ORIENTATION] = 6
    if number % 53 == 7:
        exif[_ARTIST] = PLANTED_NAME
        exif.get_ifd(_GPS).update(
            {1: "N", 2: _sexagesimal(PLANTED_LATITUDE), 3: "E", 4: _sexagesimal(PLANTED_LONGITUDE)}
        )
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, exif=exif)
    return stream.getvalue()


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    minutes = (degrees % 1) * 60
    return float(int(degrees)), float(int(minutes)), round(minutes % 1 * 60, 3)


def damage(data: bytes, broken: str | None) -> bytes:
    """The bytes as a failing card, a full disk or a captive portal leave them."""
    page = b"<!DOCTYPE html><html><body><h1>503 Service Unavailable</h1></body></html>"
    return {None: data, "truncated": data[: len(data) // 2], "empty": b"", "web_page": page}[broken]
