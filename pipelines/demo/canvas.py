"""Drawing in body lengths: limbs and discs that leave colours and a silhouette, and the sprite they become."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, sin

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from pipelines.demo.species import Colour

UNIT = 84
"""Pixels of a body length in the master drawing; frames shrink it."""
WIDTH, HEIGHT = 3.2, 2.6
"""Of the master drawing, in body lengths."""
GROUND = HEIGHT - 0.1
"""Where the feet stand, from the top of the master drawing."""

Point = tuple[float, float]

_EDGE = [min(255, max(0, (value - 96) * 4)) for value in range(256)]
"""Turns a blurred silhouette back into a firm one with rounded joints."""


@dataclass(frozen=True)
class Sprite:
    """A drawing with transparency, facing right; pixels of a master drawing.

    `box` (left, top, right, bottom) holds the body without its shadow, `feet` (x, y) is where it stands.
    """

    image: Image.Image
    box: tuple[int, int, int, int]
    feet: tuple[float, float]


class Canvas:
    """Colour and silhouette drawn together; y grows downwards and is 0 at the feet."""

    def __init__(self) -> None:
        size = (int(WIDTH * UNIT), int(HEIGHT * UNIT))
        self.colour = Image.new("RGB", size)
        self.mask = Image.new("L", size)
        self._pens = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.mask)

    def place(self, point: Point) -> Point:
        return (WIDTH / 2 + point[0]) * UNIT, (GROUND + point[1]) * UNIT

    def limb(self, points: Sequence[Point], radii: Sequence[float], fills: Sequence[Colour]) -> None:
        """Discs strung along `points`, radius and colour interpolated between them."""
        joints = np.array([(*point, radius, *fill) for point, radius, fill in zip(points, radii, fills, strict=True)])
        for start, end in pairwise(joints):
            steps = max(3, int(np.hypot(*(end - start)[:2]) / max(0.02, 0.42 * min(start[2], end[2]))))
            for share in np.linspace(0, 1, steps):
                x, y, radius, *fill = start + share * (end - start)
                self.disc((x, y), radius, tuple(int(value) for value in fill))

    def silhouette(self) -> Image.Image:
        """Opacity with rounded joints and soft edges."""
        return self.mask.filter(ImageFilter.GaussianBlur(1.6)).point(_EDGE)

    def colours(self) -> np.ndarray:
        """float32 (height, width, 3) in 0..255: the parts blended into each other, spread a little past the edge."""
        blur = ImageFilter.BoxBlur(1.5)
        amount = np.asarray(self.mask.filter(blur), np.float32)[..., None] / 255
        return np.asarray(self.colour.filter(blur), np.float32) / np.maximum(amount, 0.04)

    def disc(self, centre: Point, radius: float, fill: tuple[int, ...]) -> None:
        (x, y), r = self.place(centre), radius * UNIT
        for pen, ink in zip(self._pens, (fill, 255), strict=True):
            pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def tint(self, centres: Sequence[Point], radii: Sequence[float], fill: Colour) -> None:
        """Colours what is drawn there softly; the silhouette stays."""
        soft = Image.new("L", self.mask.size)
        corners = [self.place(centre) for centre in centres]
        pen = ImageDraw.Draw(soft)
        pen.line(corners, fill=230, width=int(1.4 * min(radii) * UNIT))
        for (x, y), radius in zip(corners, radii, strict=True):
            r = radius * UNIT
            pen.ellipse((x - 1.6 * r, y - r, x + 1.6 * r, y + r), fill=230)
        self.colour.paste(fill, mask=ImageChops.multiply(soft.filter(ImageFilter.BoxBlur(0.07 * UNIT)), self.mask))

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        corners = [self.place(point) for point in points]
        for pen, ink in zip(self._pens, (fill, 255), strict=True):
            pen.polygon(corners, fill=ink)


def ahead(start: Point, length: float, angle: float) -> Point:
    """The point `length` away; angles grow upwards from facing right."""
    return start[0] + length * cos(angle), start[1] - length * sin(angle)


def cloud(shape: tuple[int, int], cell: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise, mean 0, deviation near 1, features about `cell` pixels wide."""
    coarse = rng.normal(0, 1.3, (shape[0] // cell + 2, shape[1] // cell + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def finish(colours: np.ndarray, opacity: Image.Image) -> Sprite:
    """Light from above, and a shadow on the ground under the feet."""
    box = opacity.getbbox()
    assert box is not None, "nothing was drawn"
    light = np.interp(np.arange(colours.shape[0]), (box[1], box[3]), (1.16, 0.72)).astype(np.float32)[:, None, None]
    pixels = Image.fromarray(np.clip(colours * light, 0, 255).astype(np.uint8))
    layer = Image.new("L", opacity.size)
    foot = GROUND * UNIT
    ImageDraw.Draw(layer).ellipse((box[0] + 8, foot - 7, box[2] - 8, foot + 6), fill=120)
    shadow = Image.new("RGBA", opacity.size)
    shadow.putalpha(layer.filter(ImageFilter.BoxBlur(4)))
    drawing = Image.alpha_composite(shadow, Image.merge("RGBA", [*pixels.split(), opacity]))
    left, top, right, bottom = drawing.getbbox() or box
    inner = box[0] - left, box[1] - top, box[2] - left, box[3] - top
    return Sprite(drawing.crop((left, top, right, bottom)), inner, (WIDTH / 2 * UNIT - left, foot - top))
