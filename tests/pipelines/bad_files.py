"""Every kind of bad or odd file that archives were seen to hold, made by program, and what becomes of each.

`kinds` is the table that `docs/bad-files.md` shows and the tests assert. The same call gives the same bytes.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Kind:
    """A file and its outcome: `reason` of the rejection or None where it is taken, then with format and EXIF turn."""

    name: str
    file: str
    """How an archive calls it."""
    data: bytes
    reason: str | None
    magic: str | None = None
    turn: int = 1
    noticed: str | None = None
    """The reason where only `decoder: simplejpeg` sees the damage."""
    captured_at: str | None = None
    """A time that the metadata give it; others get a plausible one."""

    def outcome(self, decoder: str) -> tuple[str | None, str | None, int | None]:
        """(reason, magic, turn) by a decoder; magic and turn of a rejected file are unknown."""
        reason = self.noticed if self.noticed and decoder == "simplejpeg" else self.reason
        return (None, self.magic, self.turn) if reason is None else (reason, None, None)


@cache
def kinds() -> tuple[Kind, ...]:
    """All of them."""
    return (*no_pictures(), *cut_pictures(), *odd_pictures(), *too_much())


def picture(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """A smooth colour picture with grain, so that its JPEG has some kilobytes."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(30, 226, (7, 9, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), float)
    return Image.fromarray((smooth + generator.normal(0, 6, (height, width, 1))).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def no_pictures() -> list[Kind]:
    """Files with an image's name that never were one."""
    html = b"<!DOCTYPE html><html><head><title>503 Service Unavailable</title></head><body></body></html>\n"
    xml = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'
    apple = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + b"\0" * 4000
    thumbs = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 4000
    return [
        Kind("zero bytes", "IMG_0001.JPG", b"", "empty"),
        Kind("filled with nulls", "IMG_0002.JPG", b"\0" * 30_000, "not_image"),
        Kind("HTML error page", "IMG_0003.JPG", html, "not_image"),
        Kind("XML error page", "IMG_0004.JPG", xml, "not_image"),
        Kind("AppleDouble", "._IMG_0005.jpg", apple, "not_image"),
        Kind("Thumbs.db", "Thumbs.db", thumbs, "not_image"),
    ]


def cut_pictures() -> list[Kind]:
    """JPEGs of which a part is missing or overwritten."""
    whole = encoded(picture(), quality=90)
    progressive = encoded(picture(), quality=90, progressive=True)
    half, scan = len(whole) // 2, whole.index(b"\xff\xda")
    dark = encoded(dark_frame(), quality=80, optimize=True)
    return [
        Kind("cut at 50 %", "cut_half.jpg", whole[:half], "truncated"),
        Kind("last 20 bytes cut", "cut_20.jpg", whole[:-20], "truncated"),
        Kind("end marker cut", "cut_2.jpg", whole[:-2], "truncated"),
        Kind("progressive, cut at 50 %", "cut_progressive.jpg", progressive[: len(progressive) // 2], "truncated"),
        Kind("null tail", "null_tail.jpg", whole[:half] + b"\0" * (len(whole) - half), "truncated"),
        Kind("null tail of a dark frame", "null_dark.jpg", nulled(dark), "truncated"),
        Kind("header only", "header.jpg", whole[: scan + 14], "truncated"),
        Kind("400 random bytes in the middle", "flipped.jpg", flipped(whole), None, "JPEG", noticed="decode_error"),
        Kind("garbage EXIF", "exif.jpg", whole[:2] + b"\xff\xe1\0\x10Exif\0\0garbage!" + whole[2:], None, "JPEG"),
        Kind("JPEG with an MP4 behind it", "live.jpg", whole + b"\0\0\0\x18ftypmp42" + b"\0" * 9000, None, "JPEG"),
    ]


def odd_pictures() -> list[Kind]:
    """Sound files that loaders refuse, turn wrongly or skip."""
    image, grey = picture(), picture().convert("L")
    ramp = np.linspace(1000, 3000, 240 * 320).reshape(240, 320).astype(np.uint16)
    more = {"save_all": True, "append_images": [picture(seed=1), picture(seed=2)]}
    date = "2000-01-01 00:00:12"
    return [
        Kind("CMYK JPEG", "cmyk.jpg", encoded(image.convert("CMYK")), None, "JPEG"),
        Kind("palette PNG", "palette.png", encoded(image.quantize(64), "PNG"), None, "PNG"),
        Kind("PNG of grey and transparency", "la.png", encoded(grey.convert("LA"), "PNG"), None, "PNG"),
        Kind("16-bit TIFF", "deep.tif", encoded(Image.fromarray(ramp), "TIFF"), None, "TIFF"),
        Kind("PNG named .jpg", "png.jpg", encoded(image, "PNG"), None, "PNG"),
        Kind("WebP named .jpg", "webp.jpg", encoded(image, "WEBP"), None, "WEBP"),
        Kind("MPO of three frames", "mpo.jpg", encoded(image, "MPO", **more), None, "MPO"),
        Kind(".webp extension", "frame.webp", encoded(picture(seed=5), "WEBP"), None, "WEBP"),
        Kind("animated GIF", "moving.gif", encoded(image, "GIF", **more), None, "GIF"),
        Kind("EXIF orientation 6", "turned.jpg", encoded(image, exif=orientation(6)), None, "JPEG", turn=6),
        Kind("EXIF orientation 2", "mirrored.jpg", encoded(image, exif=orientation(2)), None, "JPEG", turn=2),
        Kind("name that is not UTF-8", "caf\udce9.jpg", encoded(picture(seed=3)), None, "JPEG"),
        Kind("date 2000", "dated.jpg", encoded(picture(seed=4)), None, "JPEG", captured_at=date),
    ]


def too_much() -> list[Kind]:
    """Sizes that are nothing to learn from, or an attack on memory."""
    whole = encoded(picture(), quality=90)
    frame = whole.index(b"\xff\xc0") + 5
    claims = whole[:frame] + struct.pack(">HH", 13_000, 14_000) + whole[frame + 4 :]
    text = b"zTXtcomment\0\0" + zlib.compress(b"\0" * 100_000_000)
    return [
        Kind("1 x 1", "pixel.jpg", encoded(picture(1, 1)), "too_small"),
        Kind("182 megapixels", "poster.jpg", claims, "too_large"),
        Kind("144 megapixels in 18 kB", "bomb.png", black_png(12_000), "too_large"),
        Kind("text that unfolds to 100 MB", "text.png", with_chunk(encoded(picture(), "PNG"), text), "decode_error"),
    ]


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def dark_frame() -> Image.Image:
    """Almost black: with optimised tables the shortest code ends a block, and zeros decode."""
    noise = np.random.default_rng(5).normal(10, 1.2, (30, 40, 1)).repeat(3, 2)
    small = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    return small.resize((320, 240), Image.Resampling.BICUBIC)


def nulled(jpeg: bytes) -> bytes:
    """The second half overwritten with zeros, as a card leaves a file whose writing stopped."""
    return jpeg[: len(jpeg) // 2].ljust(len(jpeg), b"\0")


def flipped(jpeg: bytes) -> bytes:
    """400 random bytes in the middle; FF is not among them, it would begin a marker."""
    noise = np.random.default_rng(6).integers(0, 255, 400, dtype=np.uint8).tobytes()
    middle = len(jpeg) // 2
    return jpeg[:middle] + noise + jpeg[middle + 400 :]


def chunk(content: bytes) -> bytes:
    """A PNG chunk (ISO/IEC 15948) of type and data."""
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def with_chunk(png: bytes, content: bytes) -> bytes:
    """`png` with a chunk behind its header."""
    return png[:33] + chunk(content) + png[33:]


def black_png(side: int) -> bytes:
    """A whole PNG of one bit a pixel."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (1 + side // 8)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR" + header) + chunk(b"IDAT" + rows) + chunk(b"IEND")
