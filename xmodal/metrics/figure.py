"""One row of every result table."""

from dataclasses import dataclass

from xmodal.metrics.intervals import Interval


@dataclass(frozen=True)
class Figure:
    """A measured value and what it has to be compared with."""

    name: str
    """Log key, e.g. "test/i2t/r1"."""
    value: float
    """In `unit`."""
    chance: float | None
    """What guessing gives on the same data, in `unit`; None where guessing is not defined."""
    low: float | None
    """Lower end of the 95 % interval, in `unit`; None where none can be given."""
    high: float | None
    """Upper end of the 95 % interval, in `unit`."""
    n: int
    """Queries, images or captions behind the value."""
    unit: str = "%"
    """"%" (0..100), "points" (a difference of two percentages), "rank", or "" for a plain number."""
    note: str = ""
    """What a reader has to know: how it is resampled, which rows are left out."""
    label: str = ""
    """The name in plain words; empty = the log key is shown."""
    baseline: float | None = None
    """What the place-only baseline gives on the same data, in `unit`; None where it has no answer to this."""

    @property
    def title(self) -> str:
        return self.label or self.name

    @property
    def interval(self) -> Interval | None:
        return None if self.low is None or self.high is None else Interval(self.low, self.high)


def figure(
    name: str,
    value: float,
    chance: float | None,
    interval: Interval | None,
    n: int,
    unit: str = "%",
    note: str = "",
    label: str = "",
    baseline: float | None = None,
) -> Figure:
    """A Figure from fractions where the unit is "%" or "points" (they are multiplied by 100), else from plain
    values."""
    scale = 100.0 if unit in ("%", "points") else 1.0
    low, high = (None, None) if interval is None else (interval.low * scale, interval.high * scale)
    chance = None if chance is None else chance * scale
    baseline = None if baseline is None else baseline * scale
    return Figure(name, value * scale, chance, low, high, n, unit, note, label, baseline)
