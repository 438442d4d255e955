"""The page: one table of arms, differences and adjusted p values, in Markdown."""

import re
from statistics import mean, stdev

from pipelines.experiments.arms import TABLES
from pipelines.experiments.compare import Difference, difference, holm
from pipelines.experiments.rows import Row, Rows
from pipelines.experiments.table import Arm, Outcome, Table, averaged

HEADING = """# What each part is worth

Written by `python -m pipelines.experiments`; every figure is of a stored run. Read differences, and only within one
table: its arms share encoders, data order and the list of trials. The text encoder all-MiniLM-L6-v2 was trained on
Flickr30k captions, which hold these images. `p` is of a sign-flip test over images of the outcomes averaged over
seeds, adjusted for all arms of the table (Holm): it says how sure the difference is for these seeds, not for new ones.
"""
HEAD = "| arm | {unit} | over seeds | beside | difference | p (Holm) | what it asks |\n|---|---|---|---|---|---|---|"


def whole(sections: list[str], earlier: str) -> str:
    """The page in the order of `TABLES`: `sections`, and of the page as it stood those of other tables."""
    found = {text.partition("\n")[0]: text.rstrip() for text in [*re.split(r"(?m)^(?=## )", earlier)[1:], *sections]}
    heads = [_head(table) for table in TABLES.values()]
    return "\n\n".join([HEADING.rstrip(), *(found[head] for head in heads if head in found)]) + "\n"


def section(rows: Rows) -> str:
    """The section of a table; arms that have no test row yet are said to be missing."""
    table = rows.table
    measured = {arm.name: found for arm in table.arms if (found := rows.measured(arm))}
    compared = [arm for arm in table.arms[1:] if arm.name in measured and arm.beside in measured]
    differences = [difference(_mean(measured[arm.name]), _mean(measured[arm.beside])) for arm in compared]
    adjusted = dict(zip([arm.name for arm in compared], holm([one.p for one in differences]), strict=True))
    found = dict(zip([arm.name for arm in compared], differences, strict=True))
    lines = [_head(table), "", _told(rows, measured), "", HEAD.format(unit=table.unit)]
    lines += [
        _line(arm, measured[arm.name], found.get(arm.name), adjusted.get(arm.name), rows.chosen(arm))
        for arm in table.arms
        if arm.name in measured
    ]
    lines += _claims(table, measured)
    missing = [arm.name for arm in table.arms if arm.name not in measured]
    return "\n".join([*lines, *(["", f"Not run yet: {', '.join(missing)}."] if missing else [])]) + "\n"


def _head(table: Table) -> str:
    return f"## {table.title}"


def _claims(table: Table, measured: dict[str, list[Row]]) -> list[str]:
    """What else the same runs gave, means over seeds; empty where the table asks for nothing."""
    if not table.claims:
        return []
    heads = ["arm", *table.claims.values()]
    lines = ["", "Of the same runs, means over seeds, not tested (what they are: [evaluation.md](evaluation.md)):", ""]
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, found in measured.items():
        values = [[row.claims[key] for row in found if key in row.claims] for key in table.claims]
        lines.append("| " + " | ".join([name, *(f"{mean(one):.3g}" if one else "" for one in values)]) + " |")
    return lines


def _mean(found: list[Row]) -> Outcome:
    return averaged([row.outcome for row in found])


def _told(rows: Rows, measured: dict[str, list[Row]]) -> str:
    every = [row for found in measured.values() for row in found]
    images = len(every[0].outcome.values) if every else 0
    hours = sum(row.seconds for row in every) / 3600
    machines = ", ".join(sorted({row.machine for row in every})) or "none yet"
    trials = "; ".join(" ".join(one) or "none" for one in rows.table.trials)
    clusters = len(set(every[0].outcome.clusters)) if every else 0
    few = f" {clusters} clusters: no p below {2 / 2**clusters:.2g} is possible." if 0 < clusters < 10 else ""
    return (
        f"{images} test images, dataset digest `{rows.dataset.digest[:12]}`, {len(every)} test runs ({hours:.1f} h on "
        f"{machines}). Trials of every arm, chosen by validation at seed 0: {trials}.{few}"
    )


def _line(arm: Arm, found: list[Row], gap: Difference | None, p: float | None, trial: int | None) -> str:
    figures = [row.figure for row in found]
    spread = f"{len(figures)} ({stdev(figures):.1f})" if len(figures) > 1 else "1"
    told = [arm.name, f"{sum(figures) / len(figures):.1f}", spread, arm.beside if gap else "", _gap(gap)]
    return "| " + " | ".join([*told, "" if p is None else f"{p:.3g}", f"{arm.asks} (trial {trial})"]) + " |"


def _gap(gap: Difference | None) -> str:
    if gap is None:
        return ""
    bounds = "" if gap.interval is None else f" ({gap.interval.low:+.1f} to {gap.interval.high:+.1f})"
    return f"{gap.value:+.1f}{bounds}"
