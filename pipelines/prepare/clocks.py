"""Whether a camera's clock can be believed, and what it says of the light.

Only the local wall time is used. The hours near dusk and dawn say nothing without a latitude, so they are left open.
"""

from collections.abc import Sequence

DAY = range(8, 17)
NIGHT = (21, 22, 23, 0, 1, 2, 3)
MIDNIGHT = "00:00:00"
MOST_MIDNIGHTS = 0.5
"""Share of a survey's times at midnight sharp above which the archive holds dates without times."""


def only_dates(times: Sequence[str | None]) -> bool:
    """Whether a survey's times are dates that became midnight."""
    known = [time for time in times if time is not None]
    midnights = sum(time.endswith(MIDNIGHT) for time in known)
    return bool(known) and midnights > MOST_MIDNIGHTS * len(known)


def flags(captured_at: str | None, dates_only: bool) -> list[str]:
    """Why a time is not trusted: no_time, date_only, default_date (1 January 00:xx, a clock never set)."""
    if captured_at is None:
        return ["no_time"]
    if dates_only:
        return ["date_only"]
    return ["default_date"] if captured_at[5:13] == "01-01 00" else []


def daylight(captured_at: str | None) -> str | None:
    """day, night, or None for an unknown time and the hours between."""
    if captured_at is None:
        return None
    hour = int(captured_at[11:13])
    return "day" if hour in DAY else "night" if hour in NIGHT else None
