"""The page: one table of arms, differences and adjusted p values, in Markdown."""

import re
import shlex
from statistics import mean

from pipelines.experiments.arms import TABLES
from pipelines.experiments.compare import Difference, difference, holm
from pipelines.experiments.rows import Row, Rows
from pipelines.experiments.table import Arm, Table, averaged

HEADING = """# What each part is worth

Written by `python -m pipelines.experiments`; every figure is of a stored run. Read differences, and only within one
table: its arms share encoders, data order and the list of trials. The text encoder all-MiniLM-L6-v2 was trained on
Flickr30k captions, which hold these images. `p` is of a sign-flip test over images of the outcomes averaged over
seeds, adjusted for all arms of the table (Holm): it says how sure the difference is for these seeds, not for new ones.
What new seeds may do is read off the differences seed by seed: both runs of a pair start from the same weights and see
the same order. Intervals are of a bootstrap over images, 95 %.

Meant for some eight core-hours, and cut for it: four development trials at one seed for each arm, three seeds on
Flickr8k or fewer, few steps where models are larger, no arm with both ITM and captioning, on camera traps none of the
papers' parts but the queue, no host judged by where it looks (Flickr8k has no boxes), and no constraints on the fusion
encoder, which tests alone cover. Hours are of whole runs, each on one core of two that it shared with others, and come
to more than eight. A table has one primary measure, and it alone is tested.
"""
NOT_RUN = "## Not run"
HEAD = (
    "| arm | {unit} | beside | difference | p (Holm) | seed by seed | trial | what it asks |\n"
    "|---|---|---|---|---|---|---|---|"
)
SURE = 0.05


def whole(sections: list[str], earlier: str) -> str:
    """The page in the order of `TABLES`: `sections`, and of the page as it stood those of other tables."""
    found = {text.partition("\n")[0]: text.rstrip() for text in [*re.split(r"(?m)^(?=## )", earlier)[1:], *sections]}
    made = [found[_head(table)] for table in TABLES.values() if _head(table) in found]
    rest = [f"- {table.title}: `{table.name}`" for table in TABLES.values() if _head(table) not in found]
    lists = [NOT_RUN, "\n".join(rest)] if rest else []
    return "\n\n".join([HEADING.rstrip(), *made, *lists]) + "\n"


def section(rows: Rows) -> str:
    """The section of a table; arms that have no test row yet are said to be missing."""
    table = rows.table
    measured = {arm.name: found for arm in table.arms if (found := rows.measured(arm))}
    gaps = _gaps(table, measured)
    lines = [_head(table), "", *_told(rows, measured), "", HEAD.format(unit=table.unit)]
    for arm in table.arms:
        if arm.name in measured:
            figure = mean(row.figure for row in measured[arm.name])
            beside = _beside(arm, measured, *gaps[arm.name]) if arm.name in gaps else [""] * 4
            told = [arm.name, f"{figure:.1f}", *beside, str(rows.chosen(arm)), arm.asks]
            lines.append("| " + " | ".join(told) + " |")
    sure = [f"{name} {gap.value:+.1f}" for name, (gap, p) in gaps.items() if p < SURE]
    lines += ["", f"With p < {SURE}: {', '.join(sure) or 'none'}.", *_claims(table, measured)]
    missing = [arm.name for arm in table.arms if arm.name not in measured]
    return "\n".join([*lines, *(["", f"Not run yet: {', '.join(missing)}."] if missing else [])]) + "\n"


def _gaps(table: Table, measured: dict[str, list[Row]]) -> dict[str, tuple[Difference, float]]:
    """Of each arm that can be compared: the difference over the seeds that both have, and p adjusted for all arms."""
    arms = [arm for arm in table.arms[1:] if arm.name in measured and arm.beside in measured]
    found = [_difference(measured[arm.name], measured[arm.beside]) for arm in arms]
    adjusted = holm([one.p for one in found])
    return {arm.name: (gap, p) for arm, gap, p in zip(arms, found, adjusted, strict=True)}


def _beside(arm: Arm, measured: dict[str, list[Row]], gap: Difference, p: float) -> list[str]:
    """What it is compared with, the difference, p, and the differences of runs of one seed."""
    pairs = zip(measured[arm.name], measured[arm.beside], strict=False)
    seeds = " ".join(f"{one.figure - other.figure:+.1f}" for one, other in pairs)
    bounds = "" if gap.interval is None else f" ({gap.interval.low:+.1f} to {gap.interval.high:+.1f})"
    return [arm.beside, f"{gap.value:+.1f}{bounds}", f"{p:.3g}", seeds]


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


def _difference(arm: list[Row], beside: list[Row]) -> Difference:
    seeds = min(len(arm), len(beside))
    ours, theirs = (averaged([row.outcome for row in found[:seeds]]) for found in (arm, beside))
    return difference(ours, theirs)


def _told(rows: Rows, measured: dict[str, list[Row]]) -> list[str]:
    """What was run, on what, and how to run it again."""
    table, every = rows.table, [row for found in measured.values() for row in found]
    tried = [row for arm in table.arms for row in rows.tried(arm) if row]
    images = len(every[0].outcome.values) if every else 0
    hours = sum(row.seconds for row in [*tried, *every]) / 3600
    where = ", ".join(sorted({f"{row.machine} at commit {row.commit[:7]}" for row in every})) or "no machine yet"
    clusters = len(set(every[0].outcome.clusters)) if every else 0
    few = f" {clusters} clusters: no p below {2 / 2**clusters:.2g} is possible." if 0 < clusters < 10 else ""
    trials = "; ".join(f"({number}) {_code(one)}" for number, one in enumerate(table.trials))
    last = len(table.trials) - 1
    own = "".join(f" {arm.name} has for ({last}) {_code(arm.last)}." for arm in table.arms if arm.last is not None)
    return [
        f"{images} test images, dataset digest `{rows.dataset.digest[:12]}`, {_seeds(table, measured)}: {len(tried)} "
        f"trials and {len(every)} test runs ({hours:.1f} h, several at once, on {where}).{few}",
        "",
        *([table.note, ""] if table.note else []),
        f"Trials of every arm, chosen by validation at seed 0: {trials}.{own} Again, after the archive is where the "
        "recipe looks for it:",
        "",
        f"    {shlex.join(['xmodal', 'prepare', *table.recipe])}",
        f"    python -m pipelines.experiments {table.name}",
    ]


def _seeds(table: Table, measured: dict[str, list[Row]]) -> str:
    """How many seeds the arms were run with."""
    counts = {len(found) for found in measured.values()} or {0}
    if counts == {table.seeds}:
        return f"{table.seeds} seeds"
    return f"{' or '.join(str(count) for count in sorted(counts))} of {table.seeds} seeds an arm"


def _code(settings: tuple[str, ...]) -> str:
    return f"`{' '.join(settings)}`" if settings else "none"
