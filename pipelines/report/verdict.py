"""Sentences of a report: what the figures allow one to say, and no more."""

from collections.abc import Sequence

from pipelines.report.formats import THIN, count, number, span
from pipelines.report.rows import BesideRow
from xmodal.metrics.figure import Figure


def sentence(main: Figure, chance_is: str = "guessing") -> str:
    """States the figure, its interval and how it stands to chance; "%" and higher-is-better figures.

    "better" needs the whole interval above chance, "worse" the whole interval below it; without an interval nothing is
    claimed beyond the two numbers.
    """
    start = f"{main.title}: {number(main.value, main.unit)}"
    if main.chance is None:
        return f"{start}."
    against = f"{chance_is} ({number(main.chance, main.unit)})"
    if main.low is None or main.high is None:
        return f"{start}, beside {number(main.chance, main.unit)} by {chance_is}; too few groups for an interval."
    bounds = f"{start} (95{THIN}% interval {span(main)})"
    if main.low > main.chance:
        return f"{bounds}, better than {against}."
    if main.high < main.chance:
        return f"{bounds}, worse than {against}."
    return f"{bounds}, which cannot be told from {against}."


def beside(ahead: Figure, who: str, what: str) -> str:
    """What the paired difference model - `who` (points) says of both at doing `what` on the same frames."""
    start = f"At {what}, on the same {count(ahead.n)} frames,"
    far = f"{number(abs(ahead.value), ahead.unit)} percentage points"
    if ahead.low is None or ahead.high is None:
        side = "ahead of" if ahead.value > 0 else "behind"
        return f"{start} the model is {far} {side} {who}; too few places for an interval."
    bounds = f"95{THIN}% interval {span(ahead)}"
    if ahead.low > 0:
        return f"{start} the model is better than {who}, by {far} ({bounds})."
    if ahead.high < 0:
        return f"{start} the model is worse than {who}, by {far} ({bounds})."
    return f"{start} the model cannot be told from {who} ({bounds})."


def where_not(rows: Sequence[BesideRow], who: str, kind: str, least: int) -> str:
    """On how many species or places (`kind`) the machine that was there before is ahead."""
    if not rows:
        return f"No {kind} with {least} such frames."
    behind = [row for row in rows if row.ahead == "incumbent"]
    sure = sum(row.interval is not None and row.interval.high < 0 for row in behind)
    told = f"{who} is ahead for {len(behind)} of {len(rows)} {kind} with at least {least} frames"
    judged = any(row.interval is not None for row in behind)
    return f"{told}, for {sure} of them beyond chance." if judged else f"{told}."
