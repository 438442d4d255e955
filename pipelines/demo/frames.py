"""Frames as a camera takes them: the scene, who passes, grass before them, daylight or infrared, noise, a strip."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from pipelines.demo.animals import Pose, draw
from pipelines.demo.canvas import UNIT, Sprite
from pipelines.demo.people import HEIGHT_UNITS, draw_person
from pipelines.demo.scenery import Scene, draw_scene
from pipelines.demo.species import Species
from pipelines.demo.visits import Frame, Individual

STRIP = 13
"""Pixels of the black strip below the picture."""
_NOD = {"walking": 0.0, "foraging": -0.85, "vigilance": 0.22}
_STRIDES = (0.4, 2.4)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """A frame as it should look upright, and the relative boxes (x, y, width, height) of those in it."""

    image: Image.Image
    boxes: list[Box]


@dataclass(frozen=True)
class _Track:
    """Where one subject goes in a visit: all in shares of the picture, `speed` per frame."""

    x: float
    foot: float
    height: float
    speed: float
    variant: int
    tone: tuple[float, float, float]  # factors of red, green and blue: no two coats of a species are alike


class Camera:
    """Draws any frame of one survey, the same one whenever it is asked. Keeps the scenes and sprites it has drawn."""

    def __init__(self, species: tuple[Species, ...], size: tuple[int, int], seed: int) -> None:
        self._species, self._seed = species, seed
        self._size = size[0], size[1] - STRIP
        rng = np.random.default_rng([seed, 3])
        grain = (self._size[1], self._size[0], 3)
        self._noise = [Image.fromarray(rng.normal(128, 7, grain).clip(0, 255).astype(np.uint8)) for _ in range(4)]
        self._scene = lru_cache(maxsize=2)(self._draw_scene)
        self._animal = lru_cache(maxsize=None)(self._draw_animal)
        self._person = lru_cache(maxsize=None)(self._draw_person)

    def take(self, frame: Frame) -> Picture:
        """The picture of a frame."""
        visit = frame.visit
        scene, flash = self._scene(visit.place)
        rng = np.random.default_rng([self._seed, 4, frame.number])
        event = np.random.default_rng([self._seed, 5, visit.place, int(visit.start.timestamp())])
        image = self._landscape(scene, rng)
        tracks = [self._track(member, scene, event) for member in range(max(1, len(visit.individuals)))]
        order = sorted(enumerate(tracks), key=lambda numbered: numbered[1].foot)  # the far ones first
        weather = float(event.uniform(0.72, 1.12)), float(event.normal(0, 0.03)), bool(event.random() < 0.3)
        boxes: list[Box] = []
        for member, track in order if frame.occupied else ():
            boxes.extend(self._pass_by(image, frame, member, track, scene, rng))
        if weather[2]:
            image.paste(scene.branch, (int(rng.normal(0, 4)), int(rng.normal(0, 4))), scene.branch)
        image = ImageChops.add(image, self._noise[rng.integers(4)], 1, -128)
        image = _infrared(image, flash, weather[0]) if visit.dark else _daylight(image, *weather[:2])
        return Picture(_with_strip(image, frame), [self._with_strip_below(box) for box in boxes])

    def _draw_scene(self, place: int) -> tuple[Scene, Image.Image]:
        scene = draw_scene(self._size, np.random.default_rng([self._seed, 6, place]))
        return scene, _flash(self._size, scene.horizon)

    def _draw_animal(self, species: int, individual: Individual, variant: int) -> Sprite:
        pose = Pose(_STRIDES[variant % 2], _NOD[individual.behaviour], individual.male, individual.juvenile)
        keys = (species, variant, individual.male, individual.juvenile, int(10 * abs(pose.nod)))
        return draw(self._species[species], pose, np.random.default_rng([self._seed, 7, *map(int, keys)]))

    def _draw_person(self, variant: int) -> Sprite:
        return draw_person(_STRIDES[variant % 2], np.random.default_rng([self._seed, 8, variant]))

    def _landscape(self, scene: Scene, rng: np.random.Generator) -> Image.Image:
        """The scene, shaken by a pixel or two of wind."""
        slack = [outer - inner for outer, inner in zip(scene.landscape.size, self._size, strict=True)]
        left, top = (int(np.clip(room / 2 + rng.normal(0, 1), 0, room)) for room in slack)
        return scene.landscape.crop((left, top, left + self._size[0], top + self._size[1]))

    def _track(self, member: int, scene: Scene, rng: np.random.Generator) -> _Track:
        near = float(rng.uniform(0.25, 1))
        speed = float(rng.uniform(0.05, 0.14) * rng.choice((-1, 1)))
        return _Track(
            x=float(rng.uniform(0.3, 0.7) - 1.2 * speed + 0.16 * member),
            foot=min(0.99, scene.horizon + 0.14 + near * (0.86 - scene.horizon)),
            height=0.24 + 0.30 * near,
            speed=speed,
            variant=int(rng.integers(2)),
            tone=_tone(rng),
        )

    def _pass_by(
        self, image: Image.Image, frame: Frame, member: int, track: _Track, scene: Scene, rng: np.random.Generator
    ) -> list[Box]:
        """Pastes one subject and the grass at its feet; returns its box, none where it has left the picture."""
        variant = track.variant + frame.position
        if frame.visit.subject == "human":
            sprite, scale, speed = self._person(variant % 6), 1.5 * track.height / HEIGHT_UNITS, track.speed
        else:
            individual = Individual(**{**vars(frame.visit.individuals[member]), "stated": True})
            sprite = self._animal(frame.visit.species, individual, variant % 2)
            scale = track.height * _apparent(self._species[frame.visit.species], individual)
            speed = track.speed * {"walking": 1.0, "foraging": 0.25, "vigilance": 0.0}[individual.behaviour]
        x = track.x + speed * frame.position
        foot = x * self._size[0], track.foot * self._size[1]
        box = _paste(image, sprite, track.tone, foot, scale * self._size[1], speed >= 0)
        self._hide_feet(image, scene, (x, track.foot), track.height, rng)
        return _visible(box, self._size)

    def _hide_feet(
        self, image: Image.Image, scene: Scene, foot: tuple[float, float], height: float, rng: np.random.Generator
    ) -> None:
        for _ in range(int(rng.integers(0, 4))):
            tuft = scene.tufts[rng.integers(len(scene.tufts))]
            tall = max(8, int(height * self._size[1] * rng.uniform(0.2, 0.62)))
            tuft = tuft.resize((int(tall * 1.8), tall), Image.Resampling.BILINEAR)
            left = int((foot[0] + rng.normal(0, 0.12)) * self._size[0] - tall)
            image.paste(tuft, (left, int(foot[1] * self._size[1]) - tall + 6), tuft)

    def _with_strip_below(self, box: Box) -> Box:
        share = self._size[1] / (self._size[1] + STRIP)
        return box[0], box[1] * share, box[2], box[3] * share


def _apparent(species: Species, individual: Individual) -> float:
    """Picture heights a body length takes for a subject at shoulder height one: size differences are compressed,
    and long bodies kept short enough for the picture."""
    shoulder = species.shape.leg + 0.9 * species.shape.chest
    return min(species.shape.size**0.45 / shoulder, 0.85) * (0.68 if individual.juvenile else 1.0)


def _tone(rng: np.random.Generator) -> tuple[float, float, float]:
    """Wide enough that a mean colour is no mark of a species: what tells them apart is shape and pattern."""
    red, green, blue = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.1, 3)).tolist()
    return red, green, blue


def _paste(
    image: Image.Image,
    sprite: Sprite,
    tone: tuple[float, float, float],
    foot: tuple[float, float],
    unit: float,
    facing_right: bool,
) -> tuple[float, float, float, float]:
    """Pastes a sprite with its feet at `foot`, `unit` pixels a body length; returns left, top, right, bottom."""
    shrink = unit / UNIT
    width, height = (max(4, round(side * shrink)) for side in sprite.image.size)
    drawing = sprite.image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    left, top, right, bottom = (side * shrink for side in sprite.box)
    anchor = sprite.feet[0] * shrink
    if not facing_right:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left, right, anchor = width - right, width - left, width - anchor
    x, y = foot[0] - anchor, foot[1] - sprite.feet[1] * shrink
    toned = drawing.point([min(255, int(value * factor)) for factor in (*tone, 1.0) for value in range(256)])
    image.paste(toned, (int(x), int(y)), toned)
    return x + left, y + top, x + right, y + bottom


def _visible(box: tuple[float, float, float, float], size: tuple[int, int]) -> list[Box]:
    """The relative box, clipped; none where less than a quarter of it is left."""
    left, right = np.clip(np.array(box[0::2]) / size[0], 0, 1)
    top, bottom = np.clip(np.array(box[1::2]) / size[1], 0, 1)
    whole = (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])
    if (right - left) * (bottom - top) < 0.25 * whole:
        return []
    return [(float(left), float(top), float(right - left), float(bottom - top))]


def _flash(size: tuple[int, int], horizon: float) -> Image.Image:
    """How much of an infrared flash comes back: little from the sky and the corners."""
    x, y = np.linspace(-1, 1, size[0]), np.linspace(0, 1, size[1])[:, None]
    fall = np.exp(-0.7 * x**2 - 1.3 * (y - 0.68) ** 2)
    return Image.fromarray(
        (255 * fall * (0.25 + 0.75 / (1 + np.exp(-14 * (y - horizon - 0.02))))).clip(0, 255).astype(np.uint8)
    )


def _infrared(image: Image.Image, flash: Image.Image, gain: float) -> Image.Image:
    lifted = image.convert("L").point([min(255, int((30 + 1.55 * value) * gain)) for value in range(256)])
    return ImageChops.multiply(lifted, flash).convert("RGB")


def _daylight(image: Image.Image, gain: float, warmth: float) -> Image.Image:
    bands = (gain * (1 + warmth), gain, gain * (1 - warmth))
    return image.point([min(255, int(value * band)) for band in bands for value in range(256)])


def _with_strip(image: Image.Image, frame: Frame) -> Image.Image:
    """The strip that cameras print; this one says that nothing here was real."""
    width, height = image.size
    whole = Image.new("RGB", (width, height + STRIP))
    whole.paste(image)
    label = f"GENERATED  {frame.moment:%Y-%m-%d %H:%M:%S}"
    ImageDraw.Draw(whole).text((4, height + 1), label, fill=(220, 220, 220), font=_font())
    return whole


@lru_cache(maxsize=1)
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(10)
