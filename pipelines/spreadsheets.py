"""Cells of CSVs that people open in a spreadsheet, which takes one that begins with `=`, `+`, `-` or `@` for a formula,
whoever wrote it (OWASP, CSV injection): an apostrophe stands before such a cell, and a reader takes it off again."""

import re
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""Apostrophes too, so that `bare` gives back what `safe` was given, whatever it was."""
_MARKED = re.compile(rf"'{_FORMULA.pattern}")


def safe(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers, null is empty."""
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def bare(cell: str) -> str:
    """What stood in a cell that `safe` wrote."""
    return cell[1:] if _MARKED.match(cell) else cell
