"""Boxes as relative x, y, width, height with the origin top left: checked, and clipped to the image."""

from collections.abc import Sequence

from pipelines.sources.rows import number
from pipelines.sources.schema import Refused

ROUNDING = 1e-3
"""A box may leave the image by this much without a word: writers round to three or four digits."""


def relative_box(values: object, refused: Refused, example: str, scale: Sequence[float] = (1, 1)) -> list[float] | None:
    """Divides x and width by `scale[0]`, y and height by `scale[1]`, and clips to the image.

    Counts clipped_box (kept), bad_box (not four finite numbers) and empty_box (nothing left inside the image); the
    latter two give null.
    """
    numbers = [number(value) for value in values] if isinstance(values, list | tuple) else []
    if len(numbers) != 4 or any(value is None for value in numbers):
        refused.add("bad_box", example)
        return None
    x, y, width, height = (float(value or 0) for value in numbers)
    left, right = _clip(x / scale[0]), _clip((x + width) / scale[0])
    top, bottom = _clip(y / scale[1]), _clip((y + height) / scale[1])
    if right <= left or bottom <= top:
        refused.add("empty_box", example)
        return None
    clipped = [left, top, right - left, bottom - top]
    lost = abs(width / scale[0] - clipped[2]) + abs(height / scale[1] - clipped[3])
    if lost > ROUNDING:
        refused.add("clipped_box", example)
    return clipped


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)
