"""Charts of a sweep's page; each has its table beside it. The best trial is the accent, stopped trials are dashed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.health.charts import short
from pipelines.report.charts import Chart, Theme, draw, quiet
from pipelines.tune.axes import Axis
from pipelines.tune.outcome import Outcome

DASHED = (0, (4, 2))


def parallel(axes: Sequence[Axis], outcomes: Sequence[Outcome], first: Outcome) -> Chart:
    """One line a trial across what was drawn for it, to its best score; without a dot where that was not searched."""
    width = max(5.0, 1.75 * len(axes) + 1.2)

    def paint(figure: Figure, theme: Theme) -> None:
        place = figure.add_axes((0.9 / width, 0.14, 1 - 1.6 / width, 0.72))
        _empty(place)
        for at, axis in enumerate(axes):
            place.plot([at, at], [0, 1], color=theme.line, linewidth=1.2, zorder=1)
            for height, text in axis.ticks():
                box = {"facecolor": theme.paper, "edgecolor": "none", "pad": 1, "alpha": 0.85}
                look = {"color": theme.ink, "fontsize": 8, "ha": "right", "va": "center", "zorder": 4, "bbox": box}
                place.annotate(text, (at, height), (-7, 0), textcoords="offset points", **look)
            place.annotate(short(axis.label, 24), (at, 1.07), color=theme.ink, fontsize=8.5, ha="center", va="bottom")
            if axis.unit:
                place.annotate(axis.unit, (at, -0.09), color=theme.muted, fontsize=8, ha="center", va="top")
        for one in sorted(outcomes, key=lambda one: one is first):
            crossed = [(at, height) for at, axis in enumerate(axes) if (height := axis.height(one)) is not None]
            place.plot(*zip(*crossed, strict=True), **_look(one, first, theme), marker="o", markersize=3.5)

    names = ", ".join(axis.label for axis in axes)
    alt = f"Parallel coordinates of {len(outcomes)} trials over {names}; the best has a score of {first.best:.4g}"
    return draw(paint, (width, 3.2), alt)


def curves(outcomes: Sequence[Outcome], first: Outcome, grace: int) -> Chart:
    """Validation scores over steps; a rule where trials could first be stopped."""

    def paint(figure: Figure, theme: Theme) -> None:
        place = figure.add_axes((0.09, 0.15, 0.86, 0.8))
        quiet(place, theme)
        place.locator_params(nbins=6)
        for one in sorted(outcomes, key=lambda one: one is first):
            x, y = np.array(one.curve).T
            place.plot(x, y, **_look(one, first, theme), marker="o", markersize=3 if len(x) < 15 else 0)
        if 0 < grace < max(one.steps for one in outcomes):
            place.axvline(grace, color=theme.muted, linewidth=1, linestyle=(0, (1, 2)))
            place.annotate("first rung", (grace, place.get_ylim()[1]), (4, -4), textcoords="offset points",
                           color=theme.muted, fontsize=8, va="top")  # fmt: skip
        place.set_xlabel("optimizer steps", color=theme.muted, fontsize=8)

    reached = f"the best from {first.curve[0][1]:.4g} to {first.curve[-1][1]:.4g}"
    return draw(paint, (7.0, 3.0), f"Validation score of {len(outcomes)} trials over optimizer steps, {reached}")


def _look(one: Outcome, first: Outcome, theme: Theme) -> dict:
    dash = DASHED if one.state == "stopped" else "-"
    if one is first:
        return {"color": theme.accent, "linewidth": 2.2, "linestyle": dash, "zorder": 3}
    return {"color": theme.muted, "linewidth": 1.0, "linestyle": dash, "alpha": 0.75, "zorder": 2}


def _empty(place: Axes) -> None:
    place.set_axis_off()
    place.set_ylim(-0.12, 1.12)
