"""Charts of the health page: heat maps of frames by place, and the long tail. Each has its table on the page."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from pipelines.report.charts import Chart, Theme, draw

NOWHERE = "no place"
"""Name of the row or column of files whose place is not known."""
CELL = 0.2
"""Inches of a heat map's cell."""


def short(name: str, most: int = 26) -> str:
    """At most `most` characters, for names beside a chart; their table has them whole."""
    return name if len(name) <= most else name[: most - 1] + "\u2026"


def heat(
    rows: Sequence[str], columns: Sequence[str], counts: np.ndarray, marked: np.ndarray, ticks: Sequence[int], alt: str
) -> Chart:
    """`counts` (R, C) as shades of their logarithm, empty where 0; `marked` (R, C) cells bear a cross. `ticks`: the
    columns that are named."""
    names = [short(name) for name in rows]
    room, head = 0.075 * max(map(len, names), default=0) + 0.2, 0.08 * max(len(columns[one]) for one in ticks) + 0.15
    wide, high = CELL * len(columns), CELL * len(rows)
    most = np.log10(max(10, counts.max(initial=1)))

    def paint(figure: Figure, theme: Theme) -> None:
        width, height = figure.get_size_inches()
        axes = figure.add_axes((room / width, 0.08 / height, wide / width, high / height))
        # A count of one is told from none: the palest shade lies well on the way to the accent.
        pale = [p + 0.3 * (a - p) for p, a in zip(to_rgb(theme.paper), to_rgb(theme.accent), strict=True)]
        ramp = LinearSegmentedColormap.from_list("accent", [pale, theme.accent])
        shades = np.ma.masked_equal(np.where(counts > 0, np.log10(np.maximum(counts, 1)), -1), -1)
        axes.pcolormesh(shades[::-1], cmap=ramp, vmin=0, vmax=most, edgecolor=theme.paper, linewidth=1.2)
        axes.set_facecolor(theme.paper)
        _named(axes, theme, names, [columns[one] for one in ticks], ticks)
        for row, column in np.argwhere(marked & (counts > 0)):
            axes.annotate("\u00d7", (column + 0.5, len(rows) - row - 0.5), color=theme.ink, ha="center", va="center")

    return draw(paint, (room + wide + head, high + head + 0.1), alt)


def _named(axes: Axes, theme: Theme, rows: list[str], columns: list[str], ticks: Sequence[int]) -> None:
    axes.set_xticks(np.array(ticks) + 0.5, columns, rotation=45, ha="left", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows[::-1])
    axes.xaxis.tick_top()
    axes.tick_params(colors=theme.ink, length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def timeline(places: Sequence[str], periods: Sequence[str], counts: np.ndarray, marked: np.ndarray) -> Chart:
    """Frames by place and month (or year); a cross where most clocks of a cell are not believed."""
    step = max(1, -(-len(periods) // 12))
    alt = (
        f"Frames of {len(places)} rows of places from {periods[0]} to {periods[-1]}, {int(counts.sum())} in all; "
        f"{int((marked & (counts > 0)).sum())} cells are marked because most of their clocks are in doubt"
    )
    return heat(places, periods, counts, marked, range(0, len(periods), step), alt)


def coverage(species: Sequence[str], places: Sequence[str], counts: np.ndarray) -> Chart:
    """Frames by species and place."""
    alt = (
        f"Frames of {len(species)} rows of species at {len(places)} columns of places; "
        f"{100 * float((counts > 0).mean()):.0f} percent of the cells hold any"
    )
    return heat(species, places, counts, np.zeros_like(counts, bool), range(len(places)), alt)


def tail(frames: Sequence[int], few: int) -> Chart:
    """Frames of each species, the most frequent first; both axes logarithmic, a rule at `few`. Of thousands of species
    some 60 are drawn."""
    ranks = np.unique(np.geomspace(1, len(frames), 60).round().astype(int))

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.add_axes((0.14, 0.17, 0.83, 0.78))
        axes.set_facecolor("none")
        axes.spines[:].set_visible(False)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(axis="y", color=theme.line, linewidth=0.7)
        axes.axhline(few, color=theme.ink, linewidth=1, linestyle=(0, (4, 2)))
        axes.plot(ranks, np.array(frames)[ranks - 1], color=theme.accent, linewidth=1.4, marker="o", markersize=3)
        axes.annotate(
            f"{few} frames",
            (len(frames), few),
            (0, 3),
            textcoords="offset points",
            color=theme.ink,
            fontsize=8,
            ha="right",
        )
        axes.set_ylim(0.8, 1.5 * max(*frames, few))
        axes.set_xlabel("species, the most frequent first", color=theme.muted, fontsize=8)
        axes.tick_params(which="both", colors=theme.muted, length=0, labelsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_formatter("")

    rare = sum(count < few for count in frames)
    alt = (
        f"Long tail: {len(frames)} species, {frames[0]} frames of the most frequent, {frames[-1]} of the rarest; "
        f"{rare} have fewer than {few}"
    )
    return draw(paint, (3.9, 2.4), alt)
