"""Upright figures for the frames that privacy keeps out."""

from math import sin

import numpy as np

from pipelines.demo.canvas import Canvas, Sprite, ahead, finish
from pipelines.demo.species import Colour

_CLOTHES: tuple[Colour, ...] = ((176, 52, 44), (52, 84, 140), (84, 96, 60), (200, 160, 60), (70, 70, 76))
_SKIN: tuple[Colour, ...] = ((224, 180, 150), (168, 118, 86), (98, 68, 50))
HEIGHT_UNITS = 2.3
"""Of a figure, in the units of the master drawing."""


def draw_person(stride: float, rng: np.random.Generator) -> Sprite:
    """One walker with a jacket, trousers and a hat; `stride` is the phase of the step in radians."""
    canvas = Canvas()
    jacket, trousers, hat = (_CLOTHES[position] for position in rng.permutation(len(_CLOTHES))[:3])
    skin = _SKIN[rng.integers(len(_SKIN))]
    hip, neck = (0.0, -1.05), (0.04, -1.82)
    for side in (-1, 1):
        swing = 0.32 * sin(stride) * side
        canvas.limb((hip, (0.5 * swing + 0.04, -0.55), (swing, -0.06)), (0.16, 0.11, 0.08), (trousers,) * 3)
        canvas.limb(((swing, -0.06), (swing + 0.14, -0.05)), (0.07, 0.06), ((40, 34, 30),) * 2)
    canvas.limb((hip, neck), (0.20, 0.22), (jacket, jacket))
    for side in (-1, 1):
        elbow = ahead((neck[0], neck[1] + 0.08), 0.40, -1.57 - 0.5 * sin(stride) * side)
        hand = ahead(elbow, 0.34, -1.2 - 0.4 * sin(stride) * side)
        canvas.limb((neck, elbow, hand), (0.12, 0.085, 0.06), (jacket, jacket, skin))
    canvas.limb((neck, (0.06, -2.08)), (0.08, 0.15), (skin, skin))
    canvas.limb(((0.05, -2.19), (0.06, -2.22)), (0.15, 0.12), (hat, hat))
    canvas.limb(((-0.08, -2.14), (0.24, -2.12)), (0.035, 0.03), (hat, hat))
    return finish(canvas.colours(), canvas.silhouette())
