"""The first sentence of a report: what the main figure allows one to say, and no more."""

from pipelines.report.formats import THIN, number, span
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
