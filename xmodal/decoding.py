"""Strict decoding of image files that come from anywhere.

A file that ends early is refused and never filled up with grey, whatever the rest of the process has told Pillow. Every
failure is a `BadImage` with one of `REASONS`, so that a listing can be accounted for file by file.

Two decoders read a JPEG by libjpeg-turbo, and at one scale they give equal pixels, bit for bit. Pillow reads every
format, and knows the scales 1/8, 1/4 and 1/2. simplejpeg reads JPEG quicker, at any number of eighths, and is the only
one to notice (most) flipped bytes inside the picture's data.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from xmodal.pillow_switches import STRICT
from xmodal.settings import SettingsError

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
JPEG = ("JPEG", "MPO")
"""What Pillow calls files that begin with a JPEG."""
Extent = tuple[float, float]
"""Width and height of a frame in its pixels: at scale 1/2 of 497 rows the last of 249 lies half outside."""
PixelReader = Callable[[Image.Image, bytes, int | None], tuple[Tensor, Extent]]
"""Pixels (3 or 4, H, W) of an opened image or of its file's bytes, and the extent in them; a JPEG is read at the
smallest scale whose sides are both at least the number given, at full scale for None."""


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
    """(3, H, W) uint8, before the turn; or (4, H, W) with Pillow's fourth byte, which means nothing. torch resizes four
    channels as they lie in memory quicker than three of them, so it is dropped after the resize."""
    extent: Extent
    width: int
    """Of the file at full scale, before the turn still to be made."""
    height: int
    pending_turn: int
    stated_turn: int
    format: str


def decode(
    data: bytes, draft_side: int | None, min_side: int, max_megapixels: float, read: PixelReader | None = None
) -> Decoded:
    """Decodes the bytes of a file; the EXIF turn is reported and not made. Raises BadImage.

    A JPEG is decoded at the smallest scale that `read` knows whose sides are both at least `draft_side` pixels; None
    asks for full scale. `read` is what `pixel_reader` gives, by default Pillow's.
    """
    with STRICT:
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = check_size(image, min_side, max_megapixels)
            check_whole(image, data)
            stated = orientation(image)
            pixels, extent = (read or by_pillow)(image, data, draft_side)
        except BadImage:
            raise
        except UnidentifiedImageError:
            raise unidentified(data) from None
        except Exception as error:  # Pillow's decoders raise many types on damaged files
            raise undecodable(data, error) from None
        pending = orientation(image)  # a TIFF has been turned by load()
    return Decoded(pixels, extent, width, height, pending, max(stated, pending), image.format or "")


@cache
def pixel_reader(decoder: Literal["pillow", "simplejpeg"]) -> PixelReader:
    """Chosen once a process. Raises SettingsError where simplejpeg is not installed."""
    return by_pillow if decoder == "pillow" else SimpleJpeg()


def by_pillow(image: Image.Image, data: bytes, side: int | None) -> tuple[Tensor, Extent]:
    """Every format and mode. Flipped bytes inside a JPEG's data pass."""
    chosen = image.draft(None, (side, side)) if side is not None else None
    extent = (chosen[1][2], chosen[1][3]) if chosen else (float(image.width), float(image.height))
    image.load()
    return to_rgb(image), extent


class SimpleJpeg:
    """JPEGs by simplejpeg, where any complaint of libjpeg-turbo is an error; all else by Pillow.

    A file that it refuses goes to Pillow too, for the reason that both give, or because the complaint is harmless (an
    unknown JFIF revision): only "Corrupt JPEG data" is damage.
    """

    SMALLEST = 8
    """Pixels. Below, two scales have one size, and the scale could not be told from what came back."""

    def __init__(self) -> None:
        try:
            from simplejpeg import decode_jpeg
        except ImportError:
            raise SettingsError(
                "data.pixels.decoder: simplejpeg is not installed here (pip install 'xmodal[fast]'); allowed: pillow"
            ) from None
        self._decode = decode_jpeg

    def __call__(self, image: Image.Image, data: bytes, side: int | None) -> tuple[Tensor, Extent]:
        width, height = image.size
        if image.format not in JPEG or image.mode not in ("RGB", "L") or min(width, height) < self.SMALLEST:
            return by_pillow(image, data, side)
        least = min(width, height) if side is None else side
        try:
            pixels = self._decode(data, "RGB", min_height=min(least, height), min_width=min(least, width))
        except ValueError as error:
            return self._doubted(image, data, side, str(error))
        return torch.from_numpy(pixels).permute(2, 0, 1), extent_of(pixels.shape[1], width, height)

    def _doubted(self, image: Image.Image, data: bytes, side: int | None, complaint: str) -> tuple[Tensor, Extent]:
        read = by_pillow(image, data, side)
        if complaint.startswith("Corrupt JPEG data"):
            raise BadImage("decode_error", f"simplejpeg: {complaint}")
        return read


def extent_of(columns: int, width: int, height: int) -> Extent:
    """The extent of a JPEG of `width` x `height` that was read as so many columns: libjpeg-turbo rounds them up."""
    eighths = next(n for n in range(1, 9) if math.ceil(width * n / 8) == columns)
    return width * eighths / 8, height * eighths / 8


def check_size(image: Image.Image, min_side: int, max_megapixels: float) -> tuple[int, int]:
    """(width, height). Raises BadImage before anything is decoded."""
    width, height = image.size
    if width * height > max_megapixels * 1e6:
        raise BadImage("too_large", f"{width} x {height} pixels, more than {max_megapixels:g} megapixels")
    if min(width, height) < min_side:
        raise BadImage("too_small", f"{width} x {height} pixels, the shorter side is below {min_side}")
    return width, height


def check_whole(image: Image.Image, data: bytes) -> None:
    """What Pillow does not check when it loads: the end of a JPEG, the checksums of a PNG. Raises BadImage and OSError.

    Behind the place where the writing of a JPEG stopped a card holds old sectors or zeros. Zeros are valid Huffman
    codes: where they are short ones (optimised tables, dark frames) they decode to a flat half picture. Of a WebP they
    are taken: it has no end marker, and a whole one may end in zeros too (docs/bad-files.md).
    """
    if image.format in JPEG and not has_end(data):
        raise BadImage("truncated", "no end of image (FF D9) behind the picture's data")
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=("PNG",)).verify()


def has_end(data: bytes) -> bool:
    """Whether FF D9 stands behind the start of a JPEG's first scan (ITU-T T.81, B.1.1 and B.2).

    Inside a scan FF is followed by 00 or a restart number, so it stands for nothing else; the end of a preview in the
    EXIF header lies before the scan. True where no scan is found: the decoder knows better then.
    """
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker in (0x00, 0xFF):  # junk and fill bytes
            position += 1
        elif marker == 0xDA:
            return data.rfind(b"\xff\xd9", position) >= 0
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return True


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
    """(3 or 4, H, W) uint8, see Decoded. Transparency goes on mid-grey, 16-bit grey is scaled by its range. Raises
    BadImage."""
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        grey = scaled_grey(np.asarray(image).astype(np.float64))
        return torch.from_numpy(grey).expand(3, -1, -1)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (128, 128, 128, 255)), over)
    elif image.mode not in ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"):
        raise BadImage("unsupported_mode", f"pixels of mode {image.mode}")
    return exported(image if image.mode == "RGB" else image.convert("RGB"))


def exported(image: Image.Image) -> Tensor:
    """(4, H, W) uint8 of an RGB image, in Pillow's own memory; (3, H, W), copied, of more than four million pixels,
    which Pillow keeps in several blocks."""
    width, height = image.size
    try:
        flat = pa.array(image).flatten()
    except ValueError:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return torch.from_dlpack(flat).reshape(height, width, 4).permute(2, 0, 1)


def scaled_grey(grey: np.ndarray) -> np.ndarray:
    """uint8 grey in which the darkest value is 0 and the brightest 255."""
    low, high = grey.min(), grey.max()
    return np.round((grey - low) * (255.0 / max(high - low, 1.0))).astype(np.uint8)
