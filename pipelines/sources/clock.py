"""Times as cameras and archives write them: the local wall clock as text, its offset from UTC where one is stated."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pipelines.sources.rows import text
from pipelines.sources.schema import DATE_ORDERS, Refused

_DATES = ("%Y-%m-%d", "%Y:%m:%d", "%Y/%m/%d", "%m-%d-%Y", "%m/%d/%Y", "%d.%m.%Y", "%d %b %Y", "%b %d %Y", "%d-%b-%Y")
_TIMES = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%I:%M:%S %p", "%I:%M %p")
_COMPACT = {"%Y%m%d%H%M%S": 14, "%Y%m%d_%H%M%S": 15}
"""With their widths: `strptime` also takes fewer digits, and guesses what they are."""
_WHOLE = ("%a %b %d %H:%M:%S %Y", *_COMPACT, *_DATES)
_LATER = ("%d/%m/%Y", "%d-%m-%Y", "%b %d, %Y", "%d-%b-%y")
"""Dates that are tried when nothing else fits: a day that stands first is then above 12."""
_FORMATS = (
    *(f"{date} {time}" for date in _DATES for time in _TIMES),
    *_WHOLE,
    *(f"{date} {time}" for date in _LATER for time in _TIMES),
    *_LATER,
)
_UTC = re.compile(r"(?<=\d) ?(UTC|GMT)$", re.IGNORECASE)
EARLIEST_YEAR = 1990
"""Digital camera traps are younger; an earlier year is a clock that was never set."""


@dataclass(frozen=True)
class Clock:
    """`wall` "YYYY-MM-DD HH:MM:SS" as the camera showed it, `utc_offset` seconds east, `instant` in epoch seconds.

    Where a time is written and cannot be used, `fault` says why: unreadable_time, or year_out_of_range with the time
    in `shown`. `order` is that of a date in digits alone whose year is last: day, month (what stands first), either.
    """

    wall: str | None = None
    utc_offset: int | None = None
    instant: float | None = None
    fault: str | None = None
    shown: str | None = None
    order: str | None = None

    @property
    def columns(self) -> dict[str, str | int | None]:
        """What MEDIA keeps of it, and the order of its date where it has one."""
        return {
            "captured_at": self.wall,
            "utc_offset": self.utc_offset,
            "time_fault": self.fault,
            "time_shown": self.shown,
        } | ({DATE_ORDERS["captured_at"]: self.order} if self.order else {})


def read_clock(value: object, refused: Refused, latest_year: int | None = None, about: str | None = None) -> Clock:
    """Reads ISO 8601, EXIF's colons and the shapes found in public sets; `1/2/2019` is read month first, which the
    other dates of its survey may put right (date_order.py).

    A date alone becomes midnight. A time that cannot be read is counted as unreadable_time, a year before 1990 or after
    `latest_year` (default: this one) as year_out_of_range: the row stays, its time is null and its fault is named.
    `about` names the row among the examples.
    """
    written = text(value)
    if written is None or written.lower() in ("nan", "none", "null", "na", "nat"):
        return Clock()
    moment, form = _parse(written)
    if moment is None:
        refused.add("unreadable_time", _example(about, written))
        return Clock(fault="unreadable_time")
    wall = moment.replace(tzinfo=None).isoformat(" ", "seconds")
    if not EARLIEST_YEAR <= moment.year <= (latest_year or _this_year()):
        refused.add("year_out_of_range", _example(about, written))
        return Clock(fault="year_out_of_range", shown=wall)
    offset = moment.utcoffset()
    if offset is None:
        return Clock(wall, order=_order(form, moment))
    return Clock(wall, int(offset.total_seconds()), moment.timestamp())


def _order(form: str, moment: datetime) -> str | None:
    if form.startswith(("%d/%m", "%d-%m")):
        return "day"
    if not form.startswith(("%m/", "%m-")) or moment.day == moment.month:
        return None
    return "month" if moment.day > 12 else "either"


def _example(about: str | None, written: str) -> str:
    """Which row it is, and the shape of what stands where a time should: `99/99/9999`. It may be anything."""
    shape = re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "9", written[:40]))
    return f"{about} ({shape})" if about else shape


def _this_year() -> int:
    """The year where it begins first: no camera's clock may be ahead of it."""
    return datetime.now(timezone(timedelta(hours=14))).year


def _parse(written: str) -> tuple[datetime | None, str]:
    """The time and the format that it is written in."""
    written = _UTC.sub("+00:00", written)
    if not written.replace("-", "").isdigit():  # `20190102030405` and `2019-01-02` go to the formats below
        try:
            return datetime.fromisoformat(written), ""
        except ValueError:
            pass
    for form in _FORMATS:
        try:
            if _COMPACT.get(form, len(written)) == len(written):
                return datetime.strptime(written, form), form
        except ValueError:
            continue
    return None, ""
