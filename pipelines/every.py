"""How often: a plain word, or the five fields of a cron expression."""

import difflib

from xmodal.settings import SettingsError

WORDS = {"hour": "0 * * * *", "day": "0 3 * * *", "week": "0 3 * * 1", "month": "0 3 1 * *"}
"""At night, a week on Monday, a month on its first."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 6, DAYS),
)
"""Name, least and greatest value, and names of values from the least on. Of the days 0 to 6: Kubernetes takes no 7."""


def cron(text: str) -> str:
    """The cron expression of `text`. Raises SettingsError with what is allowed."""
    if text in WORDS:
        return WORDS[text]
    fields = text.split()
    if len(fields) == 1:
        near = difflib.get_close_matches(text, WORDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(
            f"--every {text}: allowed are {', '.join(WORDS)} or five cron fields such as '0 3 * * 1'{hint}"
        )
    if len(fields) != len(FIELDS):
        names = ", ".join(name for name, *_ in FIELDS)
        raise SettingsError(f"--every {text}: {len(fields)} fields; a cron expression has five: {names}")
    for field, (name, least, most, names) in zip(fields, FIELDS, strict=True):
        for part in field.lower().split(","):
            _check(text, part, name, range(least, most + 1), names)
    return " ".join(fields)


def _check(text: str, part: str, name: str, allowed: range, names: tuple[str, ...]) -> None:
    """One part of a field: a value, a range or a star, and after a slash a step."""
    span, slash, step = part.partition("/")
    first, dash, last = span.partition("-")
    ends = [] if span == "*" else [_value(one, allowed, names) for one in ([first, last] if dash else [first])]
    values = [one for one in ends if one is not None]
    stepped = not slash or (step.isdecimal() and 0 < int(step) <= len(allowed) and (span == "*" or dash != ""))
    if ends != sorted(values) or not stepped:
        also = f" or {names[0]} to {names[-1]}" if names else ""
        raise SettingsError(
            f"--every {text}: {part!r} is no {name}; allowed: *, {allowed[0]} to {allowed[-1]}{also}, ranges as 2-4, "
            "steps as */2 or 2-8/2, lists as 1,15"
        )


def _value(text: str, allowed: range, names: tuple[str, ...]) -> int | None:
    """The value that is meant; None where it is none."""
    if text in names:
        return allowed[0] + names.index(text)
    return int(text) if text.isdecimal() and int(text) in allowed else None
