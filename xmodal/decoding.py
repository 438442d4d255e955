"""Strict decoding of image files that come from anywhere.

Pillow decodes; a file that ends early is refused and never filled up with grey. Every failure is a `BadImage` with one
of `REASONS`, so that a listing can be accounted for file by file.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
REASONS = (
    "missing",
    "empty",
    "not_image",
    "truncated",
    "decode_error",
    "too_large",
    "too_small",
    "unsupported_mode",
)
ORIENTATION_TAG = 0x0112


class BadImage(Exception):
    """A file that gives no image. `reason` is one of REASONS, `detail` one line for a person."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadImage"], tuple[str, str]]:
        return BadImage, (self.reason, self.detail)


@dataclass(frozen=True)
class Decoded:
    """Pixels as stored in the file, perhaps at a reduced scale, and what the header says."""

    pixels: Tensor
    """(3, H, W) uint8, before the turn."""
    width: int
    """Of the file at full scale, before the turn still to be made."""
    height: int
    pending_turn: int
    stated_turn: int
    format: str


def decode(data: bytes, draft_side: int | None, min_side: int, max_megapixels: float) -> Decoded:
    """Decodes the bytes of a file; the EXIF turn is reported and not made. Raises BadImage.

    A JPEG is decoded at the smallest scale of 1/8..1 whose sides are both at least `draft_side` pixels; None asks for
    full scale.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = check_size(image, min_side, max_megapixels)
        stated = orientation(image)
        if draft_side is not None:
            image.draft(None, (draft_side, draft_side))  # JPEG only; no effect on other formats
        Image.open(io.BytesIO(data), formats=FORMATS).verify()  # PNG: checksums, which load() does not check
        image.load()
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage("too_large", f"more than {max_megapixels:g} megapixels") from None
    except UnidentifiedImageError:
        raise unidentified(data) from None
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise undecodable(data, error) from None
    pending = orientation(image)  # a TIFF has been turned by load()
    return Decoded(to_rgb(image), width, height, pending, max(stated, pending), image.format or "")


def check_size(image: Image.Image, min_side: int, max_megapixels: float) -> tuple[int, int]:
    """(width, height). Raises BadImage before anything is decoded."""
    width, height = image.size
    if width * height > max_megapixels * 1e6:
        raise BadImage("too_large", f"{width} x {height} pixels, more than {max_megapixels:g} megapixels")
    if min(width, height) < min_side:
        raise BadImage("too_small", f"{width} x {height} pixels, the shorter side is below {min_side}")
    return width, height


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 for a header that is absent or makes no sense."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError):
        return 1  # garbage EXIF says nothing about the pixels
    return value if value in range(1, 9) else 1


def starts_like_image(data: bytes) -> bool:
    """Whether the first bytes are the signature of one of FORMATS."""
    signatures = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM", b"GIF8")
    return data.startswith(signatures) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def ends_early(data: bytes) -> bool:
    """Whether the end that the format demands is missing. Zero bytes after the end (card damage) do not count as it."""
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data[:2] == b"BM":
        return len(data) < int.from_bytes(data[2:6], "little")
    ends = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND", b"GI": b";"}
    end = ends.get(data[:2], b"")
    return end not in data[-64:]


def unidentified(data: bytes) -> BadImage:
    """The reason for a file that no decoder recognises."""
    if not starts_like_image(data):
        return BadImage("not_image", f"not one of {', '.join(FORMATS)} (starts with {data[:12]!r})")
    return undecodable(data, "the header cannot be read")


def undecodable(data: bytes, error: object) -> BadImage:
    """The reason for a file whose decoder gave up."""
    detail = " ".join(str(error).split()) or type(error).__name__
    early = ends_early(data) or "truncated" in detail.lower()
    return BadImage("truncated" if early else "decode_error", detail)


def to_rgb(image: Image.Image) -> Tensor:
    """(3, H, W) uint8. Transparency goes on mid-grey, 16-bit grey is scaled by its range. Raises BadImage."""
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        grey = scaled_grey(np.asarray(image).astype(np.float64))
        return torch.from_numpy(grey).expand(3, -1, -1)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (128, 128, 128, 255)), over)
    elif image.mode not in ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"):
        raise BadImage("unsupported_mode", f"pixels of mode {image.mode}")
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def scaled_grey(grey: np.ndarray) -> np.ndarray:
    """uint8 grey in which the darkest value is 0 and the brightest 255."""
    low, high = grey.min(), grey.max()
    return np.round((grey - low) * (255.0 / max(high - low, 1.0))).astype(np.uint8)
