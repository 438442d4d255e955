"""Animals drawn from their measures: a silhouette of limbs and discs, a coat, light from above."""

from dataclasses import dataclass
from math import cos, sin

import numpy as np

from pipelines.demo.canvas import UNIT, Canvas, Point, Sprite, ahead, cloud, finish
from pipelines.demo.species import Coat, Colour, Shape, Species


@dataclass(frozen=True)
class Pose:
    """One animal in one moment: phase of the stride (radians), head turned down or up (radians), sex, age."""

    stride: float
    nod: float
    male: bool
    juvenile: bool


def draw(species: Species, pose: Pose, rng: np.random.Generator) -> Sprite:
    """The animal in that pose; `rng` varies its build, its markings and its fur."""
    shape, coat = species.shape, species.coat
    canvas = Canvas()
    build = rng.normal(1, 0.06)
    leg = shape.leg * (1.1 if pose.juvenile else 1)
    shoulder = (0.5, -leg - 0.42 * shape.chest * build)
    hip = (-0.5, -leg - 0.5 * shape.rump * build)
    _legs(canvas, shape, coat, pose, leg, near=False)
    _tail(canvas, shape, coat, hip, rng.normal(0, 0.15))
    _body(canvas, shape, coat, shoulder, hip, build)
    _legs(canvas, shape, coat, pose, leg, near=True)
    eye = _head(canvas, shape, coat, pose, shoulder)
    colours = _coat(canvas, coat, pose, (hip, shoulder), rng)
    column, row = (int(value) for value in canvas.place(eye))
    colours[row - 2 : row + 2, column - 2 : column + 2] = (18, 14, 12)
    return finish(colours, canvas.silhouette())


def _shade(colour: Colour, by: float) -> Colour:
    red, green, blue = (min(255, int(value * by)) for value in colour)
    return red, green, blue


def _legs(canvas: Canvas, shape: Shape, coat: Coat, pose: Pose, leg: float, near: bool) -> None:
    upper = _shade(coat.back, 0.95 if near else 0.62)
    lower = _shade(coat.legs, 1.0 if near else 0.62)
    roots = {4: (0.42, -0.46), 2: (0.05,)}[shape.feet]
    for position, root in enumerate(roots):
        swing = 0.34 * leg * sin(pose.stride + 1.7 * position + (0 if near else 3.1))
        lift = 0.10 * leg * max(0.0, cos(pose.stride + 1.7 * position + (0 if near else 3.1)))
        top = (root, -leg - 0.18 * (shape.chest if root > 0 else shape.rump))
        knee = (root + 0.30 * swing + (0.05 if root > 0 else -0.07) * leg, -0.48 * leg)
        foot = (root + swing, -lift - shape.leg_width)
        width = shape.leg_width
        canvas.limb((top, knee, foot), (2.3 * width, 1.15 * width, width), (upper, lower, lower))
        canvas.limb((foot, (foot[0] + 1.3 * width, foot[1])), (width, 0.9 * width), (lower, lower))


def _tail(canvas: Canvas, shape: Shape, coat: Coat, hip: Point, sway: float) -> None:
    root = (hip[0] - 0.36 * shape.rump, hip[1] - 0.08 * shape.rump)
    angle = np.pi + shape.tail_drop + sway
    middle = ahead(root, 0.55 * shape.tail, angle)
    tip = ahead(middle, 0.45 * shape.tail, angle - 0.35)
    end = coat.tail_tip or coat.tail
    widths = (0.55 * shape.tail_width, shape.tail_width, 0.45 * shape.tail_width)
    canvas.limb((hip, root), (0.3 * shape.rump, widths[0]), (coat.back, coat.tail))
    canvas.limb((root, middle, tip), widths, (coat.tail, coat.tail, end))


def _body(canvas: Canvas, shape: Shape, coat: Coat, shoulder: Point, hip: Point, build: float) -> None:
    front, rear = 0.5 * shape.chest * build, 0.5 * shape.rump * build
    waist = (0.0, 0.5 * (shoulder[1] + hip[1]) + 0.02)
    if shape.mane:
        for share in np.linspace(0, 1, 24):
            x, y = hip[0] + share * 1.25, hip[1] + share * (shoulder[1] - hip[1]) - rear - share * (front - rear)
            height = shape.mane * (0.4 + share)
            canvas.polygon([(x - 0.05, y + 0.06), (x - 0.03, y - height), (x + 0.05, y + 0.06)], _shade(coat.back, 0.7))
    middle = 0.47 * (front + rear)
    canvas.limb((hip, waist, shoulder), (rear, middle, front), (coat.back,) * 3)
    low = [(x, y + 0.75 * r) for (x, y), r in ((hip, rear), (waist, middle), (shoulder, front))]
    canvas.tint(low, (0.30 * rear, 0.45 * middle, 0.50 * front), coat.belly)
    if coat.rump:
        canvas.disc((hip[0] - 0.62 * rear, hip[1] - 0.05), 0.36 * rear, coat.rump)


def _head(canvas: Canvas, shape: Shape, coat: Coat, pose: Pose, shoulder: Point) -> Point:
    """Draws neck, skull, snout, ears, antlers; returns the place of the eye."""
    skull = shape.head * (1.12 if pose.juvenile else 1)
    root = (shoulder[0] + 0.10, shoulder[1] - 0.18 * shape.chest)
    carriage = shape.carriage + pose.nod
    poll = ahead(root, shape.neck + 0.5 * skull, carriage)
    canvas.limb((shoulder, root, poll), (0.42 * shape.chest, 1.25 * shape.neck_width, 0.8 * shape.neck_width),
                (coat.back, coat.back, coat.head))  # fmt: skip
    gaze = -0.35 + 0.75 * pose.nod
    if shape.antlers and pose.male and not pose.juvenile:
        _antlers(canvas, shape.antlers, ahead(poll, 0.8 * skull, gaze + 1.9))
    for side, shade in ((0.45, 0.7), (0.0, 1.0)):
        _ear(canvas, shape, coat, ahead(poll, 0.75 * skull, gaze + 1.9 - side), gaze + 1.95 - 0.8 * side, shade)
    nose = ahead(poll, skull + shape.snout, gaze)
    canvas.limb((poll, ahead(poll, 0.7 * skull, gaze), nose), (skull, 0.85 * skull, shape.snout_width),
                (coat.head, coat.head, _shade(coat.head, 0.9)))  # fmt: skip
    if shape.feet == 4:
        canvas.disc(nose, 0.62 * shape.snout_width, (34, 28, 28))
    _face(canvas, shape, coat, (root, poll, nose), gaze, skull)
    return ahead(poll, 0.42 * skull, gaze + 0.75)


def _face(
    canvas: Canvas, shape: Shape, coat: Coat, line: tuple[Point, Point, Point], gaze: float, skull: float
) -> None:
    root, poll, nose = line
    if coat.mask is None:
        return
    if shape.feet == 2:
        canvas.disc(((root[0] + poll[0]) / 2 + 0.02, (root[1] + poll[1]) / 2), 0.6 * shape.neck_width, coat.mask)
        return
    back = ahead(poll, 0.9 * skull, gaze + 2.6)
    canvas.limb((back, ahead(poll, 0.35 * skull, gaze + 0.9), nose), (0.30 * skull, 0.30 * skull, 0.03),
                (coat.mask,) * 3)  # fmt: skip


def _ear(canvas: Canvas, shape: Shape, coat: Coat, root: Point, angle: float, shade: float) -> None:
    if not shape.ear:
        return
    fill = _shade(coat.head, 0.85 * shade)
    tip = ahead(root, shape.ear, angle)
    left, right = ahead(root, shape.ear_width, angle + 1.57), ahead(root, shape.ear_width, angle - 1.57)
    canvas.polygon((left, tip, right), fill)
    canvas.limb((root, ahead(root, 0.6 * shape.ear, angle)), (shape.ear_width, 0.6 * shape.ear_width), (fill, fill))
    if coat.pattern == "spots":  # a lynx has tufts
        canvas.limb((tip, ahead(tip, 0.10, angle)), (0.018, 0.014), ((20, 18, 18),) * 2)


def _antlers(canvas: Canvas, size: float, root: Point) -> None:
    fill = (196, 170, 130)
    for lean, shade in ((0.35, 0.7), (0.0, 1.0)):
        ink = _shade(fill, shade)
        bend = ahead(root, 0.55 * size, 2.25 - lean)
        tip = ahead(bend, 0.5 * size, 1.35 - lean)
        canvas.limb((root, bend, tip), (0.034, 0.028, 0.014), (ink,) * 3)
        for share, length in ((0.15, 0.32), (0.6, 0.34), (1.0, 0.3)):
            start = (root[0] + share * (bend[0] - root[0]), root[1] + share * (bend[1] - root[1]))
            canvas.limb((start, ahead(start, length * size, 0.75 - 0.5 * lean)), (0.024, 0.012), (ink,) * 2)


def _coat(canvas: Canvas, coat: Coat, pose: Pose, axis: tuple[Point, Point], rng: np.random.Generator) -> np.ndarray:
    """Blended colours with markings and fur."""
    colours = canvas.colours()
    marks = _markings(canvas, coat, pose, axis, rng).astype(np.float32)[..., None]
    ink = coat.young if pose.juvenile and coat.young else coat.mark
    colours = colours * (1 - marks) + np.array(ink, np.float32) * marks
    rows, columns = colours.shape[:2]
    fur = rng.normal(1, 0.075, (rows // 2 + 1, columns // 2 + 1, 1)).astype(np.float32).repeat(2, 0).repeat(2, 1)
    return colours * fur[:rows, :columns]


def _markings(
    canvas: Canvas, coat: Coat, pose: Pose, axis: tuple[Point, Point], rng: np.random.Generator
) -> np.ndarray:
    """Strength 0..1 of the coat's mark colour at each pixel. The young of pigs and deer are striped along the body."""
    width, height = canvas.mask.size
    grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32) / UNIT
    (left, upper), (right, lower) = (canvas.place(point) for point in axis)
    across = grid_y - np.interp(grid_x[0], (left / UNIT, right / UNIT), (upper / UNIT, lower / UNIT))
    trunk = ((grid_x > left / UNIT - 0.25) & (grid_x < right / UNIT + 0.25) & (np.abs(across) < 0.55)).astype(
        np.float32
    )
    wave = cloud((height, width), 24, rng)
    if pose.juvenile and coat.young:
        return 0.6 * trunk * (np.sin(across * 42 + 0.5 * wave) > 0.5) * (np.abs(across) < 0.22)
    if coat.pattern == "spots":
        u, v = grid_x * 19 + 0.7 * wave, grid_y * 19 + 0.7 * cloud((height, width), 24, rng)
        return 0.85 * (np.sin(u + np.floor(v / np.pi) * 1.57) * np.abs(np.sin(v)) > 0.5)
    if coat.pattern == "stripes":
        return 0.7 * trunk * (np.sin(across * 26 + wave) > 0.5) * (grid_x < (left + right) / 2 / UNIT + 0.1)
    if coat.pattern == "patches":
        return 0.75 * np.clip(1.5 * (wave - 0.3), 0, 1) * np.clip(1 - 4 * across, 0, 1) * trunk
    return np.zeros((height, width), np.float32)
