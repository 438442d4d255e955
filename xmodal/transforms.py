"""Image transforms shared by prepare, train and predict, and the keyed random draws that training uses.

`prepare_image` turns the bytes of a file into the small JPEG a dataset holds: decoded strictly, turned as its EXIF
header says, resized to `size` x `size`; it raises `BadImage`. `boxes_after` takes boxes through the same geometry.
`augment` varies pixels in training, with a generator that `draw` keys by seed, epoch and sample.
"""

import hashlib
import io
import json
import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from xmodal.decoding import BadImage, Decoded, decode, pixel_reader
from xmodal.look import difference_hash
from xmodal.regions import MAGIC, picture
from xmodal.settings import Settings

INFRARED_CHROMA = 6.0
"""Grey levels. A frame whose mean (over pixels) of max(R,G,B) - min(R,G,B) is below is called infrared. Monochrome
frames lie below 6 even with a coloured info strip, day frames and tinted flash frames above 8."""
MIN_VISIBLE_SHARE = 0.2
TURNS = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}
"""EXIF orientation: quarter turns to the left, then whether to mirror left and right."""
FRAME = (0.0, 0.0, 1.0, 1.0)
"""The whole of a frame: left, top, width, height."""


class PixelSettings(Settings):
    """The pixels a dataset holds of an image."""

    size: int = Field(default=224, ge=16, le=2048)
    """Side of the square result, in pixels."""
    resize: Literal["squash", "crop"] = "squash"
    """squash: the whole frame, its aspect ratio given up; crop: the centre square of the frame."""
    quality: int = Field(default=90, ge=1, le=100)
    """JPEG quality of the stored result."""
    exact: bool = False
    """Decode at full size. False decodes a JPEG at the smallest scale of 1/8..1 that keeps twice `size`: faster, and
    53 to 57 dB PSNR from the exact result on files as cameras write them, 47 to 52 dB on sharp frames of 640 pixels."""
    min_side: int = Field(default=16, ge=1)
    """A frame whose shorter side has fewer pixels is refused as too_small."""
    max_megapixels: float = Field(default=100.0, gt=0, le=178.0)
    """A frame of more million pixels is refused as too_large before it is decoded."""
    max_megabytes: float = Field(default=256.0, gt=0)
    """A file of more million bytes is refused as too_large before it is read: the listing says its size."""
    decoder: Literal["pillow", "simplejpeg"] = "pillow"
    """What reads JPEGs. simplejpeg (`pip install 'xmodal[fast]'`) is quicker, reads at any number of eighths where
    Pillow knows halves, and refuses most JPEGs with flipped bytes, which Pillow takes. A choice and not a fallback:
    what is taken must not depend on what a worker has installed."""


class PreparedImage(NamedTuple):
    """What `prepare_image` made of a file."""

    jpeg: bytes
    """`size` x `size` RGB, without EXIF."""
    width: int
    """Of the original, in pixels, after the EXIF turn."""
    height: int
    infrared: bool
    """Whether the pixels carry (almost) no colour, see INFRARED_CHROMA."""
    exif_turn: int
    """EXIF orientation 1..8 that was applied; 1 where the header states none."""
    format: str
    """Detected from the bytes: one of FORMATS, or MPO."""
    look: int
    """`difference_hash` of the frame."""


def prepare_image(data: bytes | None, settings: PixelSettings) -> PreparedImage:
    """Decodes, turns and resizes the bytes of an image file.

    The EXIF orientation (EXIF 2.32, tag 0x0112) of the header is applied to the small image. A colour profile is
    ignored. `data` None stands for a file that is listed and not there. Raises BadImage, and SettingsError where the
    decoder is not installed.
    """
    return prepared_frame(decoded_file(data, settings, 2 * settings.size), settings)


def prepared_frame(decoded: Decoded, settings: PixelSettings) -> PreparedImage:
    """The whole of a decoded file."""
    small = turn(resized(decoded, settings), decoded.pending_turn)
    width, height = upright_size(decoded)
    return PreparedImage(
        jpeg=encode_jpeg(small, settings.quality),
        width=width,
        height=height,
        infrared=is_infrared(small),
        exif_turn=decoded.stated_turn,
        format=decoded.format,
        look=difference_hash(small),
    )


def decoded_file(data: bytes | None, settings: PixelSettings, side: int) -> Decoded:
    """A file's pixels, at a scale that keeps `side` pixels of either side of the frame; of region features their
    stand-in. Raises as `prepare_image`."""
    if data is None:
        raise BadImage("missing", "the file is not there")
    if not data:
        raise BadImage("empty", "the file has no bytes")
    if data.startswith(MAGIC):
        return picture(data)
    read = pixel_reader(settings.decoder)
    return decode(data, None if settings.exact else side, settings.min_side, settings.max_megapixels, read)


def upright_size(decoded: Decoded) -> tuple[int, int]:
    """Width and height of the file at full scale after the turn still to be made."""
    sideways = decoded.pending_turn >= 5
    return (decoded.height, decoded.width) if sideways else (decoded.width, decoded.height)


def resized(decoded: Decoded, settings: PixelSettings, within: tuple[float, float, float, float] = FRAME) -> Tensor:
    """(3, size, size) uint8: antialiased bicubic of the window that `settings.resize` takes of the part `within` (left,
    top, width, height, relative to the frame before its turn). The window begins at a whole pixel and ends where it
    ends."""
    width, height = within[2] * decoded.extent[0], within[3] * decoded.extent[1]
    left, top, share_x, share_y = window(settings, width, height)
    x, y = int(within[0] * decoded.extent[0] + left * width), int(within[1] * decoded.extent[1] + top * height)
    seen_x, seen_y = share_x * width, share_y * height
    seen = decoded.pixels[:, y : y + _whole(seen_y), x : x + _whole(seen_x)]
    scale = (_factor(settings.size, seen_y), _factor(settings.size, seen_x))
    return F.interpolate(seen[None], scale_factor=scale, mode="bicubic", antialias=True)[0, :3]


def _whole(length: float) -> int:
    """Pixels that cover `length`, which may be an integer but for rounding."""
    return math.ceil(length - 1e-6)


def _factor(size: int, length: float) -> float:
    """From `length` pixels to `size`; a trace more, so that torch's rounding down gives `size`."""
    return size / length * (1 + 1e-9)


def window(settings: PixelSettings, width: float, height: float) -> tuple[float, float, float, float]:
    """(left, top, width, height) of the part that is kept, relative to the frame."""
    if settings.resize == "squash":
        return 0.0, 0.0, 1.0, 1.0
    share_x, share_y = min(1.0, height / width), min(1.0, width / height)
    return (1.0 - share_x) / 2, (1.0 - share_y) / 2, share_x, share_y


def boxes_after(settings: PixelSettings, boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in the geometry of the prepared pixels.

    `boxes` (n, 4): x, y (upper left corner), width, height, relative to the turned frame of `width` x `height` pixels.
    Returns the m kept boxes, clipped, (m, 4) float32, and `kept` (n,) bool: a box of which less than 0.2 of its area
    is inside is left out, as is one without area.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    left, top, share_x, share_y = window(settings, width, height)
    scale = np.array([share_x, share_y])
    upper = (boxes[:, :2] - [left, top]) / scale
    lower = upper + boxes[:, 2:] / scale
    inside = np.clip(np.stack([upper, lower]), 0.0, 1.0)
    area, visible = np.prod(lower - upper, axis=1), np.prod(inside[1] - inside[0], axis=1)
    kept = (area > 0) & (visible > 0) & (visible >= MIN_VISIBLE_SHARE * area)
    return np.concatenate([inside[0], inside[1] - inside[0]], axis=1)[kept].astype(np.float32), kept


def turn(pixels: Tensor, exif: int) -> Tensor:
    """(C, H, W) pixels turned upright for EXIF orientation `exif` (1..8)."""
    quarters, mirrored = TURNS[exif]
    turned = torch.rot90(pixels, quarters, (1, 2))
    return turned.flip(2) if mirrored else turned


def is_infrared(pixels: Tensor) -> bool:
    """Whether (3, H, W) uint8 pixels carry almost no colour, see INFRARED_CHROMA."""
    chroma = pixels.amax(0) - pixels.amin(0)
    return chroma.float().mean().item() < INFRARED_CHROMA


def encode_jpeg(pixels: Tensor, quality: int) -> bytes:
    """Baseline JPEG (4:2:0) of (3, H, W) uint8 pixels, without metadata."""
    stream = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def decode_pixels(jpeg: bytes) -> Tensor:
    """(3, H, W) uint8 of a JPEG that `prepare_image` made."""
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


class AugmentSettings(Settings):
    """How pixels vary in training. Strengths of 0 (1 for the scale and the aspect) leave an image as it is."""

    min_scale: float = Field(default=0.5, gt=0, le=1)
    """Least share of the image's area that a random crop keeps; the share is uniform between this and 1."""
    max_aspect: float = Field(default=4 / 3, ge=1)
    """The crop's width / height is log-uniform between 1 / max_aspect and max_aspect."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a left-right flip."""
    brightness: float = Field(default=0.2, ge=0, le=1)
    """Pixels are multiplied by a factor uniform in 1 -+ brightness."""
    contrast: float = Field(default=0.2, ge=0, le=1)
    """Distances from the image's mean are multiplied by a factor uniform in 1 -+ contrast."""


def augment(pixels: Tensor, settings: AugmentSettings, generator: np.random.Generator) -> Tensor:
    """A variant of (3, H, W) uint8 pixels, of the same size.

    Takes seven uniform numbers from `generator` whatever the settings, so that two settings see the same draws.
    """
    area, aspect, x, y, flip, bright, contrast = generator.random(7)
    cropped = random_crop(pixels, settings, area, aspect, x, y)
    mirrored = cropped.flip(2) if flip < settings.flip else cropped
    gain = 1 + settings.brightness * (2 * bright - 1)
    spread = 1 + settings.contrast * (2 * contrast - 1)
    values = mirrored.float()
    varied = torch.add(gain * (1 - spread) * values.mean(), values, alpha=gain * spread)
    return varied.round_().clamp_(0, 255).to(torch.uint8)


def random_crop(pixels: Tensor, settings: AugmentSettings, area: float, aspect: float, x: float, y: float) -> Tensor:
    """The crop that four uniform numbers in [0, 1) name, resized to the size of `pixels`."""
    height, width = pixels.shape[1:]
    share = settings.min_scale + (1 - settings.min_scale) * area
    ratio = math.exp(math.log(settings.max_aspect) * (2 * aspect - 1))
    w = max(1, min(width, round(width * math.sqrt(share * ratio))))
    h = max(1, min(height, round(height * math.sqrt(share / ratio))))
    left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
    seen = pixels[:, top : top + h, left : left + w]
    return F.interpolate(seen[None], (height, width), mode="bilinear", antialias=True)[0]


def draw(seed: int, *keys: int | str) -> np.random.Generator:
    """A generator for one purpose: the same on every machine for the same seed and keys, unrelated for others.

    Keys name what the draw is for, e.g. ("augment", sample_id, epoch), never a rank or a worker. Philox is
    counter-based (Salmon et al. 2011); its 128-bit key is the BLAKE2b digest of the keys.
    """
    name = json.dumps([int(seed), *(key if isinstance(key, str) else int(key) for key in keys)])
    key = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
