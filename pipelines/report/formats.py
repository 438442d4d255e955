"""Numbers as a reader sees them: narrow no-break spaces, true minus signs, en dashes within intervals."""

import math

from xmodal.metrics.figure import Figure
from xmodal.metrics.intervals import Interval

THIN = "\u202f"
DASH = "\u2013"
NONE = "\u2014"
_UNITS = {"%": f"{THIN}%", "points": ""}


def clip(value: float) -> float:
    """A percentage as a position on a track, 0..100."""
    return round(min(max(value, 0.0), 100.0), 2)


def count(value: int | None) -> str:
    """Thousands set apart: 12 345."""
    return NONE if value is None else f"{value:,}".replace(",", THIN)


def number(value: float | None, unit: str = "%") -> str:
    """A value in its unit: percent, points (which the words beside must name) and ranks with at most one decimal, plain
    numbers with three significant digits."""
    if value is None or math.isnan(value):
        return NONE
    return f"{_digits(value, unit)}{_UNITS.get(unit, '')}"


def span(figure: Figure) -> str:
    """The interval of a figure, the unit once."""
    if figure.low is None or figure.high is None:
        return "no interval"
    end = _UNITS.get(figure.unit, "")
    low, high = _digits(figure.low, figure.unit), _digits(figure.high, figure.unit)
    between = f" to{THIN}" if figure.low < 0 else DASH
    return f"{low}{between}{high}{end}"


def share(value: float | None) -> str:
    """0..1 as whole percent: single species and places have too few images for more digits."""
    return NONE if value is None else f"{100 * value:.0f}{THIN}%"


def points(value: float) -> str:
    """A difference of two shares 0..1 in whole percentage points, its sign in front."""
    whole = round(100 * value)
    return f"{'+' if whole > 0 else chr(0x2212) if whole < 0 else ''}{abs(whole)}"


def points_span(interval: Interval | None) -> str:
    """An interval of such differences."""
    return NONE if interval is None else f"{points(interval.low)} to{THIN}{points(interval.high)}"


def share_span(interval: Interval | None) -> str:
    """An interval of shares 0..1 in whole percent."""
    return NONE if interval is None else f"{100 * interval.low:.0f}{DASH}{100 * interval.high:.0f}{THIN}%"


def _digits(value: float, unit: str) -> str:
    if unit == "rank":
        text = f"{value:.0f}" if value == int(value) else f"{value:.1f}"
    elif unit in _UNITS or abs(value) >= 10:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
    return text.replace("-", "\u2212")
