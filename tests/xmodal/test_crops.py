"""Crops: a square window in the frame, cut out of files of every EXIF orientation at every scale, with its boxes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from xmodal.crops import Box, crop_window, prepare_crops, within_window
from xmodal.transforms import PixelSettings, boxes_after, decode_pixels, prepare_image

SETTINGS = PixelSettings(size=64, quality=100)
shares = st.floats(0.001, 1.0)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    width, height = draw(shares), draw(shares)
    return draw(st.floats(0, 1 - width)), draw(st.floats(0, 1 - height)), width, height


def smooth(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(30, 226, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=97, exif=exif)
    return stream.getvalue()


@given(boxes(), st.floats(0, 2), st.integers(16, 4000), st.integers(16, 4000))
def test_a_window_holds_its_box_inside_the_frame_and_is_square_where_there_is_room(
    box: Box, margin: float, width: int, height: int
):
    x, y, wide, high = crop_window(box, margin, 16, width, height)
    assert x >= 0 and y >= 0 and x + wide <= 1 + 1e-9 and y + high <= 1 + 1e-9
    assert x <= box[0] + 1e-9 and y <= box[1] + 1e-9
    assert x + wide >= box[0] + box[2] - 1e-9 and y + high >= box[1] + box[3] - 1e-9
    side = max(16, (1 + 2 * margin) * max(box[2] * width, box[3] * height))
    assert wide * width == pytest.approx(min(side, width)) and high * height == pytest.approx(min(side, height))


def test_a_window_by_hand():
    """A box of 20 x 10 pixels in 200 x 100: the square has 24 and stays in the middle, or moves inside at an edge."""
    assert crop_window((0.4, 0.45, 0.1, 0.1), 0.1, 16, 200, 100) == pytest.approx((0.39, 0.38, 0.12, 0.24))
    assert crop_window((0.9, 0.9, 0.1, 0.1), 0.1, 16, 200, 100) == pytest.approx((0.88, 0.76, 0.12, 0.24))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(640, 480), (1283, 977)])
def test_a_crop_is_the_window_of_the_frame_as_it_is_seen(orientation: int, size: tuple[int, int]):
    data = jpeg(smooth(*size), orientation)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    given = [(0.1, 0.2, 0.3, 0.2), (0.7, 0.6, 0.25, 0.4)]
    found = prepare_crops(data, given, 0.1, SETTINGS)
    for box, crop in zip(given, found, strict=True):
        assert (crop.width, crop.height, crop.exif_turn) == (*upright.size, orientation)
        x, y, wide, high = crop_window(box, 0.1, 16, *upright.size)
        edges = x * upright.width, y * upright.height, (x + wide) * upright.width, (y + high) * upright.height
        want = np.asarray(upright.resize((64, 64), Image.Resampling.BICUBIC, box=edges)).astype(float)
        assert np.abs(decode_pixels(crop.jpeg).permute(1, 2, 0).numpy() - want).mean() < 3.0


def test_what_is_said_of_the_frame_is_said_of_its_crops():
    """A grey animal in a coloured frame is no infrared frame."""
    frame = smooth(640, 480)
    frame.paste((90, 90, 90), (200, 200, 280, 280))
    data, box = jpeg(frame), (200 / 640, 200 / 480, 80 / 640, 80 / 480)
    whole, crop = prepare_image(data, SETTINGS), prepare_crops(data, [box], 0.0, SETTINGS)[0]
    assert not whole.infrared and crop._replace(jpeg=b"", look=0) == whole._replace(jpeg=b"", look=0)
    assert decode_pixels(crop.jpeg).float().std() < 3


@given(boxes(), st.lists(boxes(), max_size=5))
def test_boxes_follow_into_the_crop(box: Box, others: list[Box]):
    """A point of a box lies in the crop's box at the same share of the crop's window."""
    width, height = 640, 480
    shown = crop_window(box, 0.1, 16, width, height)
    inside = within_window(np.array([box, *others]), shown)
    back = inside * [shown[2], shown[3], shown[2], shown[3]] + [shown[0], shown[1], 0, 0]
    assert np.allclose(back, [box, *others], atol=1e-9)
    placed, kept = boxes_after(PixelSettings(), inside, round(shown[2] * width), round(shown[3] * height))
    assert kept[0] and np.allclose(placed[0], inside[0], atol=1e-6)


def test_a_small_animal_of_a_large_file_keeps_its_pixels():
    """The decoder's reduced scale would leave 4 pixels of it: the crop shows the file's own."""
    frame = Image.new("RGB", (2048, 1536), (90, 120, 60))
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = stripes[:, 2::8] = stripes[:, 3::8] = 255
    frame.paste(Image.fromarray(stripes), (1024, 768))
    crop = prepare_crops(jpeg(frame), [(0.5, 0.5, 64 / 2048, 64 / 1536)], 0.0, SETTINGS)[0]
    row = decode_pixels(crop.jpeg).float().mean(0)[32]
    assert (row[1::8] > 180).all() and (row[5::8] < 75).all()
