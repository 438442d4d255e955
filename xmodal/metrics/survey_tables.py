"""Answers on a survey -> Figure rows, as in `tables`: value, chance, place-only baseline and interval in one place.

`groups` (n,) is what is resampled, places where they are known. `place_only` (n,) are the answers of a lookup that
knows only which training species is the most frequent at the place (`baselines.place_only`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmodal.metrics import calibration
from xmodal.metrics.classification import Lineages, hits
from xmodal.metrics.f1 import macro_f1, macro_f1_chance, macro_f1_interval
from xmodal.metrics.figure import Figure, figure
from xmodal.metrics.intervals import drawn_sums, mean, mean_interval, percentile
from xmodal.metrics.paired import Paired, paired
from xmodal.metrics.tables import share
from xmodal.metrics.taxonomy import lca_chance, lca_steps
from xmodal.metrics.worst import Worst

Groups = Sequence[Any] | np.ndarray
Array = NDArray[np.float64]
Labels = Sequence[str]


def f1(
    name: str, label: str, truth: Labels, predicted: Labels, place_only: Labels, candidates: int, groups: Groups,
    note: str = "",
) -> Figure:  # fmt: skip
    """Macro F1 of n answers."""
    classes = f"mean over the {len(set(truth))} species present"
    bounds, chance = macro_f1_interval(truth, predicted, groups), macro_f1_chance(truth, candidates)
    value, baseline = macro_f1(truth, predicted), macro_f1(truth, place_only)
    return figure(name, value, chance, bounds, len(truth), "%", _joined(classes, note), label, baseline)


def answers(
    name: str, label: str, truth: Labels, predicted: Labels, place_only: Labels, candidates: int, groups: Groups,
    classes: Groups | None = None, note: str = "",
) -> Figure:  # fmt: skip
    """Share right of n answers, or its mean over classes (n,)."""
    right, known = hits(truth, predicted), hits(truth, place_only)
    return share(name, label, right, 1 / candidates, groups, classes, note, known)


def lca(
    prefix: str, truth: Labels, predicted: Labels, place_only: Labels | None, candidates: Labels, lineages: Lineages,
    groups: Groups,
) -> list[Figure]:  # fmt: skip
    """Mean rank steps to the lowest shared taxon; nothing where no true species has a name at every rank."""
    steps = lca_steps(truth, predicted, lineages)
    n = int((~np.isnan(steps)).sum())
    if n == 0:
        return []
    left_out = f"; {len(steps) - n} images without a name at every rank left out" if n < len(steps) else ""
    note = "0 the species, 1 its genus, 2 family, 3 order, 4 class, 5 nothing shared; lower is better" + left_out
    chance = mean(lca_chance(truth, candidates, lineages))
    known = None if place_only is None else mean(lca_steps(truth, place_only, lineages))
    name, label = f"{prefix}/species/lca_distance", "Rank steps from the true species to what the answer shares with it"
    return [figure(name, mean(steps), chance, mean_interval(steps, groups), n, "", note, label, known)]


def over(name: str, label: str, found: Paired, note: str = "") -> Figure:
    """A paired difference in percentage points, beside 0: neither is better."""
    often = "" if found.better is None else f"better in {100 * found.better:.1f} % of the resamples"
    return figure(name, found.difference, 0.0, found.interval, found.n, "points", _joined(note, often), label)


def over_place_only(prefix: str, truth: Labels, predicted: Labels, place_only: Labels, groups: Groups) -> Figure:
    """How far the model is ahead of the lookup by place, on the same images."""
    found = paired(hits(truth, predicted), hits(truth, place_only), groups)
    return over(f"{prefix}/species/over_place_only", "Ahead of the place-only baseline, of all images", found)


def apart(name: str, label: str, first: tuple[Array, Groups], second: tuple[Array, Groups], note: str = "") -> Figure:
    """mean(first) - mean(second) in percentage points, of (values, groups) on different rows, resampled together."""
    drawn = drawn_sums([first, (-second[0], second[1])])
    value, n = mean(first[0]) - mean(second[0]), len(first[0]) + len(second[0])
    return figure(name, value, 0.0, None if drawn is None else percentile(drawn), n, "points", note, label)


def confidence(name: str, label: str, sure: Array, right: Array, groups: Groups, note: str = "") -> Figure:
    """Expected calibration error of n answers."""
    floor = "chance: a perfectly calibrated model on as many images; lower is better"
    bounds, chance = calibration.ece_interval(sure, right, groups), calibration.ece_floor(sure)
    value, told = calibration.ece(sure, right), _joined(note, floor)
    return figure(name, value, chance, bounds, len(sure), "%", told, label)


def worst_places(prefix: str, found: Worst, known: Worst) -> Figure:
    """Share right at the worst tenth of the places; `known` is the place-only baseline's."""
    what = "the worst one" if found.worst == 1 else f"the {found.worst} worst"
    note = f"{what} of {found.places} places, each counting the same; chance: the same answers dealt over the places"
    name, label = f"{prefix}/places/worst_tenth", "Species right at the worst tenth of the places"
    return figure(name, found.share, found.dealt, found.interval, found.n, "%", note, label, known.share)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
