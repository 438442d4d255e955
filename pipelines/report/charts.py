"""Charts as SVG data addresses, once for light and once for dark pages, the same bytes for the same data.

One accent, one ink and greys: what a colour says is also said by a shape, a dash or a word. Text stays text and takes
the reader's own font.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "xmodal",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.unicode_minus": True,
}
METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Theme:
    """The colours of a page; contrast of ink, muted and accent against paper is at least 4.5 to 1."""

    paper: str
    ink: str
    muted: str
    line: str
    accent: str
    faint: str


LIGHT = Theme(paper="#fdfdfb", ink="#1b2421", muted="#5b6763", line="#d9dcd7", accent="#1c6b52", faint="#c9d0cb")
DARK = Theme(paper="#131816", ink="#e7ebe8", muted="#a2aea8", line="#313a36", accent="#74c7a5", faint="#4a5550")


@dataclass(frozen=True)
class Chart:
    """One drawing for both kinds of page."""

    light: str
    dark: str
    alt: str
    width: int
    """CSS pixels."""
    height: int


def draw(paint: Callable[[Figure, Theme], None], size: tuple[float, float], alt: str) -> Chart:
    """Paints in both themes; `size` in inches of 96 CSS pixels."""
    light, dark = (_address(paint, size, theme) for theme in (LIGHT, DARK))
    return Chart(light, dark, alt, round(size[0] * 96), round(size[1] * 96))


def _address(paint: Callable[[Figure, Theme], None], size: tuple[float, float], theme: Theme) -> str:
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, facecolor="none")
        paint(figure, theme)
        figure.savefig(stream, format="svg", metadata=METADATA, dpi=192)
    svg = stream.getvalue().replace(b"'DejaVu Sans'", FONT.encode())
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def quiet(axes: Axes, theme: Theme) -> None:
    """Only what is needed to read a value: two thin rules across and muted numbers."""
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=theme.muted, length=0, labelsize=8)
    axes.grid(axis="y", color=theme.line, linewidth=0.7)
    axes.set_axisbelow(True)


def curve(title: str, lines: dict[str, list[tuple[float, float]]]) -> Chart:
    """One small panel: val dashed, the others solid, few points as dots, each line named at its end."""
    dashes = {"val": (0, (4, 2))}

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.add_axes((0.15, 0.16, 0.67, 0.74))
        quiet(axes, theme)
        axes.locator_params(nbins=4)
        for name, points in lines.items():
            x, y = np.array(points).T
            colour = theme.accent if name == "val" else theme.ink
            marker = "o" if len(points) < 15 else ""
            axes.plot(x, y, color=colour, linewidth=1.4, linestyle=dashes.get(name, "-"), marker=marker, markersize=3)
        for (name, points), height in zip(lines.items(), _ends(axes, lines), strict=True):
            colour = theme.accent if name == "val" else theme.ink
            axes.annotate(name, (points[-1][0], height), (5, 0), textcoords="offset points", color=colour, va="center")

    ends = "; ".join(
        f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}".lstrip() for name, points in lines.items()
    )
    return draw(paint, (3.1, 2.0), f"Line chart of {title} over steps: {ends}")


def _ends(axes: Axes, lines: dict[str, list[tuple[float, float]]]) -> list[float]:
    """Heights of the names at the line ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap, heights = 0.1 * (high - low), {}
    for name in sorted(lines, key=lambda name: lines[name][-1][1]):
        below = max(heights.values(), default=-np.inf)
        heights[name] = max(lines[name][-1][1], below + gap)
    return [heights[name] for name in lines]


def confusion(names: Sequence[str], counts: NDArray[np.int64]) -> Chart:
    """Shares of each row as shades with the percent written in; empty cells stay empty."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    n = len(names)
    short = [name if len(name) <= 24 else name[:23] + "\u2026" for name in names]
    side, room = 0.36 * n, 0.08 * max(map(len, short)) + 0.15

    def paint(figure: Figure, theme: Theme) -> None:
        width, height = figure.get_size_inches()
        axes = figure.add_axes((room / width, 0.1 / height, side / width, side / height))
        ramp = LinearSegmentedColormap.from_list("accent", [theme.paper, theme.accent])
        axes.pcolormesh(shares[::-1], cmap=ramp, vmin=0, vmax=1, edgecolor=theme.line, linewidth=0.4)
        axes.set_xticks(np.arange(n) + 0.5, short, rotation=45, ha="left", rotation_mode="anchor")
        axes.set_yticks(np.arange(n) + 0.5, short[::-1])
        axes.xaxis.tick_top()
        axes.tick_params(colors=theme.ink, length=0, labelsize=8.5)
        axes.spines[:].set_visible(False)
        for row, column in np.argwhere(counts):
            share = shares[row, column]
            colour = theme.paper if share > 0.55 else theme.ink
            place = (column + 0.5, n - row - 0.5)
            axes.annotate(f"{100 * share:.0f}", place, color=colour, ha="center", va="center", fontsize=7.5)

    diagonal = 100 * float(np.diag(shares)[counts.sum(1) > 0].mean())
    alt = f"Confusion matrix of {n} classes in percent of each row; the diagonal's mean is {diagonal:.0f} percent"
    return draw(paint, (room + side + 0.75 * room, side + 0.75 * room + 0.15), alt)


def cloud(points: NDArray, own: NDArray[np.bool_], label: str) -> Chart:
    """All points as faint dots, those of one label dark on top. Dots are pixels inside the SVG, to keep it small."""

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
        axes.set_axis_off()
        axes.scatter(*points[~own].T, s=3, color=theme.faint, linewidths=0, rasterized=True)
        axes.scatter(*points[own].T, s=7, color=theme.accent, linewidths=0, rasterized=True)
        axes.set_aspect("equal", "datalim")

    return draw(paint, (2.2, 2.0), f"Map of {len(points)} test images with the {int(own.sum())} of {label} marked")
