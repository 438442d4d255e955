"""Image transforms: every reason of a bad file, EXIF turns, pixel and box geometry, draws."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from xmodal.decoding import REASONS, decode, scaled_grey
from xmodal.transforms import (
    INFRARED_CHROMA,
    AugmentSettings,
    BadImage,
    PixelSettings,
    augment,
    boxes_after,
    decode_pixels,
    draw,
    is_infrared,
    prepare_image,
    resized,
    turn,
)

SMALL = PixelSettings(size=32)
DATA = Path(os.environ.get("XMODAL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
FRAMES = DATA / "cameratraps" / "images"


def natural(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture: low-frequency colour noise, enlarged."""
    noise = np.random.default_rng(seed).integers(30, 226, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def turned_header(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND"]
    lengths = [struct.pack(">I", len(chunk) - 4) for chunk in chunks]
    sums = [struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(b"".join, zip(lengths, chunks, sums, strict=True)))


def damaged_png() -> bytes:
    data = bytearray(encoded(natural(64, 48), "PNG"))
    start = data.index(b"IDAT") + 8
    data[start : start + 40] = b"\x55" * 40
    return bytes(data)


JPEG = encoded(natural(200, 150), quality=95)
BAD = {
    "missing": [None],
    "empty": [b""],
    "not_image": [b"\0" * 5000, b"<html>404</html>", b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ", b"%PDF-1.4 text"],
    "truncated": [
        JPEG[: len(JPEG) // 2],
        JPEG[:-20],
        JPEG[:30],
        JPEG[: len(JPEG) // 2] + b"\0" * (len(JPEG) // 2),
        encoded(natural(200, 150), progressive=True)[:-400],
        encoded(natural(64, 48), "PNG")[:-200],
        encoded(natural(64, 48), "WEBP")[:-100],
        encoded(natural(64, 48), "BMP")[:-100],
        encoded(natural(64, 48), "GIF")[:-200],
        encoded(natural(64, 48), "TIFF")[:4000],
    ],
    "decode_error": [damaged_png()],
    "too_large": [png_of_size(11_000, 10_000), png_of_size(20_000, 20_000)],
    "too_small": [encoded(natural(200, 15)), encoded(natural(1, 1))],
    "unsupported_mode": [encoded(Image.new("F", (32, 32)), "TIFF"), encoded(Image.new("LAB", (32, 32)), "TIFF")],
}


def test_every_reason_is_listed():
    assert set(BAD) == set(REASONS)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("reason", "data"), [(reason, data) for reason, group in BAD.items() for data in group])
def test_bad_file_gives_its_reason(reason: str, data: bytes | None):
    with pytest.raises(BadImage) as caught:
        prepare_image(data, SMALL)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


def test_bad_image_survives_pickling():
    again = pickle.loads(pickle.dumps(BadImage("empty", "no bytes")))
    assert (again.reason, again.detail) == ("empty", "no bytes")


def test_what_only_looks_bad_is_taken():
    for data in (JPEG + b"ftypmp42" * 50, JPEG + b"\0" * 4000):
        assert prepare_image(data, SMALL) == prepare_image(JPEG, SMALL)
    for form in ("GIF", "MPO", "WEBP", "TIFF"):
        several = encoded(natural(40, 30), form, save_all=True, append_images=[natural(40, 30, seed=1)])
        first = prepare_image(several, SMALL)
        assert (first.width, first.format) == (40, form)
    garbage = JPEG[:2] + b"\xff\xe1\0\x10Exif\0\0garbage!" + JPEG[2:]
    assert prepare_image(garbage, SMALL).exif_turn == 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_result_is_a_plain_jpeg_of_the_asked_size(form: str):
    prepared = prepare_image(encoded(natural(120, 90), form), SMALL)
    assert (prepared.format, prepared.width, prepared.height, prepared.exif_turn) == (form, 120, 90, 1)
    with Image.open(io.BytesIO(prepared.jpeg)) as stored:
        assert (stored.format, stored.mode, stored.size, dict(stored.getexif())) == ("JPEG", "RGB", (32, 32), {})


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turn_is_that_of_pillow(orientation: int, form: str):
    data = encoded(natural(96, 64), form, exif=turned_header(orientation))
    prepared = prepare_image(data, PixelSettings(size=64, quality=100))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (prepared.width, prepared.height, prepared.exif_turn) == (*upright.size, orientation)
    want = np.asarray(upright.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)).astype(float)
    assert np.abs(decode_pixels(prepared.jpeg).permute(1, 2, 0).numpy() - want).mean() < 3.0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turn_is_exact(orientation: int):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    want = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turn(torch.from_numpy(pixels).permute(2, 0, 1), orientation).permute(1, 2, 0).numpy(), want)


def psnr(left: Tensor, right: Tensor) -> float:
    return 10 * np.log10(255**2 / (left.double() - right.double()).square().mean().item())


@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (1597, 1193), (1605, 1207)])
@pytest.mark.parametrize(("resize", "least"), [("squash", 50), ("crop", 42)])
def test_scaled_decode_is_close_to_the_exact_one(width: int, height: int, resize: str, least: float):
    """Also where the scale leaves a part of a pixel over: it must not stretch the frame. A crop begins at a whole
    pixel of the scaled frame."""
    data = encoded(natural(width, height), quality=90)
    fast, exact = (decode(data, side, 16, 100) for side in (2 * 96, None))
    assert fast.extent == (width / 4, height / 4) and exact.pixels.shape[1:] == (height, width)
    assert fast.pixels.shape[1:] == (-(-height // 4), -(-width // 4))
    settings = PixelSettings(size=96, resize=resize)  # pyright: ignore[reportArgumentType]
    assert psnr(resized(fast, settings), resized(exact, settings)) >= least
    stored = [decode_pixels(prepare_image(data, settings.model_copy(update={"exact": exact})).jpeg) for exact in (0, 1)]
    assert psnr(*stored) >= 40  # both quantised once more


@pytest.mark.data
@pytest.mark.skipif(not FRAMES.is_dir(), reason=f"needs the camera-trap frames in {FRAMES}")
def test_scaled_decode_of_real_frames_is_close_to_the_exact_one():
    settings = PixelSettings(size=112)
    found = []
    for file in sorted(FRAMES.glob("*/*.jpg"))[::20]:
        fast, exact = (decode(file.read_bytes(), side, 16, 100) for side in (2 * 112, None))
        if fast.extent != exact.extent:
            found.append(psnr(resized(fast, settings), resized(exact, settings)))
    assert len(found) > 10 and np.median(found) >= 49 and min(found) >= 44


@given(width=st.integers(16, 700), height=st.integers(16, 700), size=st.integers(16, 300), crop=st.booleans())
@tries(max_examples=60, deadline=None)
def test_any_frame_becomes_the_asked_size(width: int, height: int, size: int, crop: bool):
    settings = PixelSettings(size=size, resize="crop" if crop else "squash")
    decoded = decode(encoded(Image.new("RGB", (width, height), (40, 90, 200))), 2 * size, 16, 100)
    assert resized(decoded, settings).shape == (3, size, size)


def test_resize_is_within_a_grey_level_of_pillow():
    image = natural(300, 200)
    prepared = prepare_image(encoded(image, "PNG"), PixelSettings(size=64, quality=100))
    want = encoded(image.resize((64, 64), Image.Resampling.BICUBIC), quality=100)
    difference = decode_pixels(prepared.jpeg).int() - decode_pixels(want).int()
    assert difference.abs().float().mean() < 0.5


def colour(image: Image.Image, **options: object) -> list[int]:
    """Mean of R, G, B after preparing an evenly coloured picture."""
    prepared = prepare_image(encoded(image, "PNG", **options), SMALL)
    return decode_pixels(prepared.jpeg).float().mean((1, 2)).round().int().tolist()


def test_modes_become_rgb():
    assert colour(Image.new("L", (20, 20), 70)) == [70] * 3
    assert colour(Image.new("1", (20, 20), 1)) == [255] * 3
    assert colour(Image.new("RGBA", (20, 20), (10, 10, 10, 0))) == [128] * 3
    assert colour(Image.new("LA", (20, 20), (0, 128))) == [64] * 3
    assert colour(Image.new("P", (20, 20), 0), transparency=0) == [128] * 3
    cmyk = prepare_image(encoded(Image.new("CMYK", (20, 20), (0, 0, 0, 128))), SMALL)
    assert decode_pixels(cmyk.jpeg).float().mean().item() == pytest.approx(127, abs=2)


def test_sixteen_bits_are_scaled_by_their_range():
    ramp = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(np.uint16)
    for form in ("TIFF", "PNG"):
        pixels = decode_pixels(prepare_image(encoded(Image.fromarray(ramp), form), SMALL).jpeg)
        assert pixels.min() < 10 and pixels.max() > 245
    assert scaled_grey(np.full((2, 2), 700.0)).tolist() == [[0, 0], [0, 0]]


def test_infrared_is_read_from_the_pixels():
    assert prepare_image(encoded(natural(64, 48).convert("L").convert("RGB")), SMALL).infrared
    assert not prepare_image(encoded(natural(64, 48)), SMALL).infrared
    strip = torch.full((3, 40, 40), 90, dtype=torch.uint8)
    strip[0, :1] = 250  # a coloured line of text at the top
    assert is_infrared(strip)


@pytest.mark.data
@pytest.mark.skipif(not FRAMES.is_dir(), reason=f"needs the camera-trap frames in {FRAMES}")
def test_real_frames_fall_clearly_on_one_side_of_the_infrared_rule():
    files = sorted(FRAMES.glob("*/*.jpg"))[::10]
    chroma = []
    for file in files:
        pixels = decode_pixels(prepare_image(file.read_bytes(), PixelSettings(size=64)).jpeg).int()
        chroma.append((pixels.amax(0) - pixels.amin(0)).float().mean().item())
    values = np.array(chroma)
    assert 0.1 < (values < INFRARED_CHROMA).mean() < 0.6
    assert (np.abs(values - INFRARED_CHROMA) < 1.5).mean() < 0.03


def found(pixels: Tensor, box: np.ndarray) -> np.ndarray:
    """x, y, width, height, relative, of the red area."""
    red = (pixels[0].int() - pixels[2].int() > 128).nonzero().numpy()
    upper, lower = red.min(0), red.max(0) + 1
    return np.array([upper[1], upper[0], lower[1] - upper[1], lower[0] - upper[0]]) / pixels.shape[1]


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (301, 200)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_boxes_go_where_the_pixels_go(resize: str, width: int, height: int, orientation: int):
    upright = Image.new("RGB", (width, height), "blue")
    box = np.array([[0.3, 0.4, 0.25, 0.2]])
    x, y, w, h = box[0] * [width, height, width, height]
    ImageDraw.Draw(upright).rectangle([x, y, x + w - 1, y + h - 1], fill="red")
    back = {1: 0, 3: 180, 6: 90}[orientation]
    data = encoded(upright.rotate(back, expand=True), quality=100, exif=turned_header(orientation))
    settings = PixelSettings(size=128, quality=100, resize=resize)  # pyright: ignore[reportArgumentType]
    prepared = prepare_image(data, settings)
    boxes, kept = boxes_after(settings, box, prepared.width, prepared.height)
    assert (prepared.width, prepared.height, kept.tolist()) == (width, height, [True])
    assert np.abs(found(decode_pixels(prepared.jpeg), box) - boxes[0]).max() <= 3.0 / 128


def test_boxes_outside_the_crop_are_left_out():
    crop = PixelSettings(resize="crop")
    given = np.array([[0.0, 0.2, 0.2, 0.5], [0.2, 0.1, 0.1, 0.5], [0.4, 0.4, 0.0, 0.1], [0.1, 0.0, 0.8, 1.0]])
    boxes, kept = boxes_after(crop, given, 200, 100)  # keeps x in 0.25..0.75
    assert kept.tolist() == [False, True, False, True]
    assert boxes == pytest.approx(np.array([[0, 0.1, 0.1, 0.5], [0, 0, 1, 1]]), abs=1e-6)
    assert boxes.dtype == np.float32


def test_squash_leaves_boxes_as_they_are():
    given = np.array([[0.1, 0.2, 0.3, 0.4], [0.9, 0.9, 0.3, 0.3]])
    boxes, kept = boxes_after(PixelSettings(), given, 640, 480)
    assert kept.tolist() == [True, False]  # the second lies outside to 8/9
    assert boxes == pytest.approx(given[:1])
    assert boxes_after(PixelSettings(), np.zeros((0, 4)), 640, 480)[0].shape == (0, 4)


def test_augment_repeats_for_equal_keys_and_differs_for_others():
    pixels = torch.from_numpy(np.asarray(natural(48, 48)).copy()).permute(2, 0, 1).contiguous()
    settings = AugmentSettings()
    first, again = (augment(pixels, settings, draw(1, "augment", "a", 3)) for _ in range(2))
    other = augment(pixels, settings, draw(1, "augment", "a", 4))
    assert first.dtype == torch.uint8 and first.shape == pixels.shape
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_augment_of_no_strength_is_the_image():
    pixels = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8)
    still = AugmentSettings(min_scale=1, max_aspect=1, flip=0, brightness=0, contrast=0)
    assert torch.equal(augment(pixels, still, draw(0, "x")), pixels)
    flipped = augment(pixels, still.model_copy(update={"flip": 1.0}), draw(0, "x"))
    assert torch.equal(flipped, pixels.flip(2))


def test_augment_keeps_its_bounds():
    pixels = torch.full((3, 24, 24), 200, dtype=torch.uint8)
    settings = AugmentSettings(min_scale=0.01, max_aspect=4, brightness=0.1, contrast=1)
    for seed in range(30):
        varied = augment(pixels, settings, draw(seed))
        assert varied.shape == pixels.shape and varied.min() >= 179 and varied.max() <= 221


def test_draw_is_the_same_in_every_process():
    code = "from xmodal.transforms import draw; print(draw(7, 'augment', 'é', 12).integers(0, 1 << 62))"
    environment = {**os.environ, "PYTHONHASHSEED": "3", "OMP_NUM_THREADS": "1"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(other.stdout) == draw(7, "augment", "é", 12).integers(0, 1 << 62)


def test_draw_tells_its_keys_apart():
    keys = [(1,), (1, "2"), (1, 2), (12,), (1, "a", "b"), (1, "a,b"), (1, "ab"), (2,)]
    assert len({draw(*key).integers(0, 1 << 62) for key in keys}) == len(keys)  # pyright: ignore[reportArgumentType]
    assert draw(int(np.int64(1)), np.int64(2)).random() == draw(1, 2).random()  # pyright: ignore[reportArgumentType]
