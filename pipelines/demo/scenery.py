"""One landscape a camera: sky, hills, trees and ground from smooth noise; grass and branches that hide animals."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipelines.demo.canvas import cloud

MARGIN = 1.08
"""The landscape is larger than the frame by this, so that a camera may shake."""

_PALETTES = (  # ground, leaves, trunk, sky: spring meadow, dry grass, beech wood, pine wood, heath, wetland
    ((104, 128, 62), (72, 108, 52), (92, 76, 58), (186, 206, 222)),
    ((168, 146, 92), (118, 120, 62), (110, 88, 64), (214, 214, 206)),
    ((126, 96, 62), (96, 122, 58), (124, 118, 106), (196, 210, 196)),
    ((88, 82, 58), (44, 74, 52), (98, 68, 50), (170, 188, 200)),
    ((122, 98, 96), (86, 92, 66), (84, 72, 62), (200, 196, 208)),
    ((92, 110, 84), (100, 128, 88), (96, 92, 78), (178, 200, 210)),
)


@dataclass(frozen=True)
class Scene:
    """What one camera sees: the landscape, the line of the horizon (share of the height), what stands in front."""

    landscape: Image.Image
    horizon: float
    tufts: tuple[Image.Image, ...]
    branch: Image.Image


def draw_scene(size: tuple[int, int], rng: np.random.Generator) -> Scene:
    """A landscape of its own for each generator: palette, horizon, trees and ground all vary."""
    width, height = (int(side * MARGIN) for side in size)
    ground, leaves, trunk, sky = (np.clip(np.array(colour) * rng.normal(1, 0.10) * rng.normal(1, 0.035, 3), 20, 250)
                                  for colour in _PALETTES[rng.integers(len(_PALETTES))])  # fmt: skip
    horizon = float(rng.uniform(0.24, 0.46))
    image = _sky(width, height, sky, rng)
    _hills(image, horizon, 0.5 * leaves + 0.5 * sky, rng)
    image = image.filter(ImageFilter.GaussianBlur(1.5))
    _ground(image, horizon, ground, leaves, rng)
    _wood(image, horizon, leaves, trunk, rng)
    return Scene(
        image,
        horizon,
        tuple(_tuft(0.6 * leaves + 0.4 * ground, rng) for _ in range(4)),
        _branch(size, leaves, trunk, rng),
    )


def _ink(colour: np.ndarray, by: float) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.clip(colour * by, 0, 255))
    return red, green, blue


def _sky(width: int, height: int, sky: np.ndarray, rng: np.random.Generator) -> Image.Image:
    light = np.linspace(1.12, 0.92, height)[:, None] + 0.05 * cloud((height, width), height // 3, rng)
    return Image.fromarray(np.clip(sky * light[..., None], 0, 255).astype(np.uint8))


def _hills(image: Image.Image, horizon: float, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Three ridges, the farthest palest, and a dark wood's edge."""
    width, height = image.size
    pen = ImageDraw.Draw(image)
    for layer, shade in enumerate((1.15, 0.98, 0.78)):
        ridge = cloud((2, width), (90, 60, 16)[layer], rng)[0]
        level = height * (horizon - 0.13 + 0.045 * layer) - 0.022 * height * ridge * (1.6 - 0.3 * layer)
        outline = [*zip(range(width), level.tolist(), strict=True), (width, height), (0, height)]
        pen.polygon(outline, fill=_ink(colour, shade))


def _ground(
    image: Image.Image, horizon: float, ground: np.ndarray, leaves: np.ndarray, rng: np.random.Generator
) -> None:
    """Noise whose grain grows towards the camera, patches of grass in it, darker in front."""
    width, height = image.size
    top = int(horizon * height)
    depth = height - top
    near = np.linspace(0, 1, depth)[:, None]
    fine = (1 - near) * cloud((depth, width), 3, rng) + near * cloud((depth, width), 8, rng)
    broad = cloud((depth, width), 40, rng)
    light = np.linspace(1.08, 0.80, depth)[:, None] * (1 + 0.10 * fine + 0.05 * rng.normal(0, 1, (depth, width)))
    share = np.clip(0.5 + 0.45 * broad, 0, 1)[..., None]
    pixels = (share * ground + (1 - share) * (0.5 * leaves + 0.5 * ground)) * light[..., None]
    image.paste(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), (0, top))
    pen = ImageDraw.Draw(image)
    for _ in range(220):
        x, y = rng.uniform(0, width), top + depth * rng.uniform(0, 1) ** 0.7
        length = 3 + 16 * (y - top) / depth
        pen.line((x, y, x + rng.normal(0, 0.3) * length, y - length), fill=_ink(leaves, rng.uniform(0.6, 1.25)))


def _wood(image: Image.Image, horizon: float, leaves: np.ndarray, trunk: np.ndarray, rng: np.random.Generator) -> None:
    """Trunks and bushes from far to near; a few near trunks reach out of the frame."""
    width, height = image.size
    nearness = np.sort(rng.uniform(0, 1, rng.integers(6, 18)) ** 2)
    for near in nearness:
        x, foot = rng.uniform(0, width), height * (horizon + 0.5 * near * (1 - horizon))
        if rng.random() < 0.55:
            _trunk(image, (x, foot), 3 + 26 * near, trunk * rng.uniform(0.75, 1.1), rng)
        else:
            _bush(image, (x, foot), 10 + 46 * near, leaves * rng.uniform(0.7, 1.1), rng)


def _trunk(
    image: Image.Image, foot: tuple[float, float], width: float, colour: np.ndarray, rng: np.random.Generator
) -> None:
    (x, y), lean = foot, rng.normal(0, 0.05)
    pen = ImageDraw.Draw(image)
    for strip in np.linspace(-1, 1, max(3, int(width / 2))):
        shade = (1.05 - 0.35 * strip) * rng.uniform(0.85, 1.1)
        bottom, top = x + strip * width / 2, x + 0.8 * strip * width / 2 + lean * y
        pen.line((bottom, y + rng.uniform(0, 0.08) * width, top, 0), fill=_ink(colour, shade), width=3)


def _bush(
    image: Image.Image, foot: tuple[float, float], size: float, colour: np.ndarray, rng: np.random.Generator
) -> None:
    pen = ImageDraw.Draw(image)
    spots = rng.normal(0, 0.42, (46, 2)) * size
    for dx, dy in sorted(spots.tolist(), key=lambda spot: -abs(spot[1])):
        x, y, r = foot[0] + dx, foot[1] - 0.4 * size + 0.7 * dy, size * rng.uniform(0.06, 0.17)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_ink(colour, rng.uniform(0.7, 1.05) - 0.25 * dy / size))


def _tuft(colour: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Blades of grass on a transparent ground, 160 x 90."""
    tuft = Image.new("RGBA", (160, 90))
    pen = ImageDraw.Draw(tuft)
    for _ in range(int(rng.integers(30, 70))):
        x, length, lean = rng.normal(80, 30), rng.uniform(25, 82), rng.normal(0, 16)
        fill = (*_ink(colour, rng.uniform(0.55, 1.3)), 255)
        pen.polygon([(x - 2, 90), (x + lean, 90 - length), (x + 2, 90)], fill=fill)
    return tuft


def _branch(size: tuple[int, int], leaves: np.ndarray, trunk: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A twig with leaves before the lens, out of focus, transparent elsewhere."""
    layer = Image.new("RGBA", size, (*_ink(leaves, 0.7), 0))
    pen = ImageDraw.Draw(layer)
    left, right = rng.uniform(0.05, 0.6, 2) * size[1]
    points = [(share * size[0], left + share * (right - left) + rng.normal(0, 5)) for share in np.linspace(0, 1, 9)]
    pen.line(points, fill=(*_ink(trunk, 0.7), 255), width=4, joint="curve")
    for x, y in points:
        for _ in range(3):
            dx, dy, r = rng.normal(0, 14), rng.normal(0, 9), rng.uniform(3, 7)
            pen.ellipse((x + dx - 2 * r, y + dy - r, x + dx + 2 * r, y + dy + r), fill=(*_ink(leaves, 0.75), 235))
    return layer.filter(ImageFilter.GaussianBlur(1.6))
