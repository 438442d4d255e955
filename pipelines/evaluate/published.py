"""Ours beside what is published: ours, published, difference, protocol."""

from collections.abc import Mapping, Sequence

from pipelines.evaluate.settings import EvaluationSettings, Published
from pipelines.report.content import FigureGroup
from xmodal.metrics.figure import Figure

HEAD = ("published result", "figure", "ours", "published", "difference", "protocol")


def beside(split: str, settings: EvaluationSettings, measured: Sequence[Figure]) -> list[FigureGroup]:
    """A group of differences (ours minus published) for each published result whose protocol was measured."""
    found = {figure.name: figure for figure in measured}
    groups = [
        FigureGroup(f"Beside {one.name}", _differences(split, number, one, settings, found), one.source)
        for number, one in enumerate(settings.published)
    ]
    return [group for group in groups if group.figures]


def _differences(
    split: str, number: int, one: Published, settings: EvaluationSettings, found: Mapping[str, Figure]
) -> list[Figure]:
    rows = []
    for key, value in one.figures.items():
        ours = found.get(own_name(split, one, key))
        if ours is not None:
            unit = "" if key == "rsum" else "points"
            note = f"ours {ours.value:.1f}, published {value:.1f}; {protocol(one, settings)}"
            name, label = f"{split}/published/{number}/{key}", f"{key}: ours minus {one.name}"
            rows.append(Figure(name, ours.value - value, None, None, None, ours.n, unit, note, label))
    return rows


def own_name(split: str, one: Published, key: str) -> str:
    """Log key of our figure that a published one stands beside."""
    asked = {"ensemble": one.ensemble, "folds": one.protocol == "folds", "host": one.scored_by == "host"}
    return "/".join([split, *(name for name, own in asked.items() if own), key])


def protocol(one: Published, settings: EvaluationSettings) -> str:
    """In words."""
    images = f"mean over folds of {settings.fold_images or 0:,}" if one.protocol == "folds" else "all test images"
    return f"{images}, {'two models averaged*' if one.ensemble else 'one model'}"


def table(split: str, settings: EvaluationSettings, measured: Sequence[Figure]) -> list[str]:
    """Lines of the comparison; a result without figures is a line that says why."""
    if not settings.published:
        return []
    found = {figure.name: figure for figure in measured}
    rows, silent = [list(HEAD)], []
    for one in settings.published:
        rows += [_row(split, one, key, value, settings, found) for key, value in one.figures.items()]
        silent += [] if one.figures else [f"{one.name}: {one.source}"]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*(lines if len(rows) > 1 else []), *silent]


def _row(
    split: str, one: Published, key: str, value: float, settings: EvaluationSettings, found: Mapping[str, Figure]
) -> list[str]:
    ours = found.get(own_name(split, one, key))
    cells = ["not measured", f"{value:.1f}", ""] if ours is None else _numbers(ours.value, value)
    return [one.name, key, *cells, protocol(one, settings)]


def _numbers(ours: float, published: float) -> list[str]:
    return [f"{ours:.1f}", f"{published:.1f}", f"{ours - published:+.1f}"]
