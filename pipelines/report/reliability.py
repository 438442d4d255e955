"""The reliability diagram: share right over confidence, beside the line of a model that knows how sure it may be."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pipelines.report.charts import Chart, Theme, draw, quiet
from xmodal.metrics.calibration import Bin


def chart(bins: Sequence[Bin]) -> Chart:
    """A dot a bin, larger for more answers, with its interval; below it how many answers each bin holds."""
    sure, right, n = (np.array([getattr(one, name) for one in bins]) for name in ("confidence", "right", "n"))
    spans = np.array([(one.interval.low, one.interval.high) if one.interval else (one.right,) * 2 for one in bins])

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.add_axes((0.12, 0.36, 0.84, 0.6))
        quiet(axes, theme)
        axes.set(xlim=(0, 100), ylim=(0, 100), xticks=[], yticks=range(0, 101, 25), ylabel="% right")
        axes.plot([0, 100], [0, 100], color=theme.muted, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate("as sure as right", (1, 3), (4, 4), textcoords="offset points", color=theme.muted, rotation=29,
                      rotation_mode="anchor", fontsize=8)  # fmt: skip
        axes.vlines(100 * sure, *(100 * spans.T), color=theme.accent, linewidth=1.2, alpha=0.55)
        axes.scatter(100 * sure, 100 * right, s=14 + 90 * n / n.max(), color=theme.accent, linewidths=0)
        below = figure.add_axes((0.12, 0.14, 0.84, 0.16))
        quiet(below, theme)
        below.grid(False)
        middles, widths = zip(*((50 * (one.low + one.high), 100 * (one.high - one.low)) for one in bins), strict=True)
        below.bar(middles, 100 * n / n.sum(), width=np.array(widths) * 0.85, color=theme.faint)
        below.set(xlim=(0, 100), yticks=[], xticks=range(0, 101, 25), xlabel="confidence in %", ylabel="answers")
        for one in (axes, below):
            one.xaxis.label.set_color(theme.muted)
            one.yaxis.label.set_color(theme.muted)

    worst = max(bins, key=lambda one: one.n * abs(one.right - one.confidence))
    alt = (
        f"Reliability diagram of {int(n.sum())} answers in {len(bins)} bins; the gap that counts most: "
        f"{100 * worst.confidence:.0f} percent confidence, {100 * worst.right:.0f} percent right"
    )
    return draw(paint, (5.2, 4.0), alt)
