"""Answers at the ranks of the taxonomy: right at each of them, how far off, and how far off where they are wrong."""

from collections.abc import Sequence

import numpy as np

from xmodal.metrics import survey_tables, tables
from xmodal.metrics.classification import RANKS, Lineages
from xmodal.metrics.figure import Figure, figure
from xmodal.metrics.intervals import Groups, mean, mean_interval
from xmodal.metrics.taxonomy import lca_chance, lca_steps


def by_rank(
    prefix: str, truth: Sequence[str], predicted: Sequence[str], place_only: Sequence[str] | None,
    candidates: Sequence[str], lineages: Lineages, groups: Groups,
) -> list[Figure]:  # fmt: skip
    """Those that some label has the names for; `unranked` says why others are not there."""
    return [
        *tables.per_rank(prefix, truth, predicted, candidates, lineages, groups, place_only),
        *survey_tables.lca(prefix, truth, predicted, place_only, candidates, lineages, groups),
        *_severity(prefix, truth, predicted, place_only, candidates, lineages, groups),
    ]


def _severity(
    prefix: str, truth: Sequence[str], predicted: Sequence[str], place_only: Sequence[str] | None,
    candidates: Sequence[str], lineages: Lineages, groups: Groups,
) -> list[Figure]:  # fmt: skip
    """Mean rank steps of wrong answers alone (Bertinetto et al., CVPR 2020, section 3); nothing where none is wrong."""
    steps = lca_steps(truth, predicted, lineages)
    wrong = np.where(steps > 0, steps, np.nan)
    n = int((steps > 0).sum())
    if n == 0:
        return []
    others = len(candidates) / (len(candidates) - 1)  # a guess that is wrong, each other candidate as likely
    chance = mean(np.where(steps > 0, others * lca_chance(truth, candidates, lineages), np.nan))
    lookup = None if place_only is None else lca_steps(truth, place_only, lineages)
    known = None if lookup is None or not (lookup > 0).any() else mean(lookup[lookup > 0])
    note = "wrong answers alone, of each its own; 1 the true genus ... 5 nothing shared; lower is better"
    name, label = f"{prefix}/species/mistake_severity", "Rank steps of wrong answers (severity of mistakes)"
    return [figure(name, mean(wrong), chance, mean_interval(wrong, groups), n, "", note, label, known)]


def unranked(prefix: str, rows: Sequence[Figure]) -> list[str]:
    """What is not among the figures of species, each with its reason; nothing where no image is asked."""
    there = {row.name for row in rows}
    without = [rank for rank in RANKS if f"{prefix}/species/{rank}" not in there]
    lines: list[str] = []
    if not rows:
        return lines
    if without:
        lines.append(f"right at the rank of {', '.join(without)}: no image that is asked is labelled with a name there")
    if f"{prefix}/species/lca_distance" not in there:
        lines.append("rank steps to the answer: no image that is asked is labelled with a name at every rank")
    elif f"{prefix}/species/mistake_severity" not in there:
        lines.append("severity of mistakes: no answer is wrong")
    return lines
