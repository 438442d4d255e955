"""Times as Camtrap DP asks for them: ISO 8601 with an offset from UTC."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from xmodal.settings import SettingsError

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)|Z")


def offset_seconds(text: str, option: str = "--utc-offset") -> int:
    """Seconds east of UTC of `+02:00`, `-0330` or `Z`. Raises SettingsError."""
    found = _OFFSET.fullmatch(text.strip())
    if found is None or int(found[3] or 0) > 59 or int(found[2] or 0) > 15:
        raise SettingsError(f"{option} {text}: not an offset from UTC, as +02:00 or -03:30")
    sign = -1 if found[1] == "-" else 1
    return sign * (int(found[2] or 0) * 3600 + int(found[3] or 0) * 60)


@dataclass(frozen=True)
class Moments:
    """Writes wall times; `assumed` is the offset of those that state none, null where nobody said so."""

    assumed: int | None

    def written(self, wall: str | None, offset: int | None) -> str | None:
        """`2026-05-01T11:00:00+0200`; null where the time or its offset is not known."""
        east = self.assumed if offset is None else offset
        if wall is None or east is None:
            return None
        moment = datetime.fromisoformat(wall).replace(tzinfo=timezone(timedelta(seconds=east)))
        return moment.strftime("%Y-%m-%dT%H:%M:%S%z")
