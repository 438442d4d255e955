"""Which cameras' clocks can be believed, and when the frames were taken."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.health import charts, words
from pipelines.health.counting import counted, some, taken
from pipelines.health.section import HealthSection
from pipelines.prepare.clocks import HARMLESS, trusts
from pipelines.report.charts import Chart

MOST_CAMERAS = 20
MOST_PLACES = 24
OUTSIDE = "outside"
"""Name of the column of times that no clock believed shows."""
MOST_COLUMNS = 48
"""Of the chart over time: beyond as many months it counts by year."""


@dataclass(frozen=True)
class FlagRow:
    """One kind of fault."""

    name: str
    meaning: str
    trusted: bool
    files: int
    cameras: int


@dataclass(frozen=True)
class CameraRow:
    """One camera with files in doubt; `example` is the path of one of them, by which who holds the archive knows it."""

    camera: str
    place: str | None
    files: int
    distrusted: int
    flags: Sequence[tuple[str, int]]
    example: str


@dataclass(frozen=True)
class Timeline:
    """Frames by place and month (or year): `counts` (P, M), `distrusted` (P, M) those whose clock is not believed. The
    last row is of `others` further places where that is not 0."""

    places: Sequence[str]
    periods: Sequence[str]
    counts: np.ndarray
    distrusted: np.ndarray
    others: int

    @property
    def rows(self) -> list[tuple[str, int, int, int]]:
        """Period, frames, those in doubt, rows of places with any; periods without a frame are left out."""
        frames, doubted, places = self.counts.sum(0), self.distrusted.sum(0), (self.counts > 0).sum(0)
        every = zip(self.periods, frames.tolist(), doubted.tolist(), places.tolist(), strict=True)
        return [row for row in every if row[1]]

    @property
    def drawn(self) -> Chart:
        return charts.timeline(self.places, self.periods, self.counts, self.distrusted > 0.5 * self.counts)


@dataclass(frozen=True, kw_only=True)
class Clocks(HealthSection):
    """Clock faults."""

    anchor: ClassVar[str] = "clocks"
    title: ClassVar[str] = "Clocks"
    lead: ClassVar[str] = (
        "A camera’s clock decides what is night, what is one event, and what comes before the next survey. Each file "
        "that would be taken was checked; light is compared only where frames were read."
    )

    files: int
    distrusted: int
    rows: Sequence[FlagRow] = ()
    cameras: Sequence[CameraRow] = ()
    """The worst of `faulty` cameras."""
    faulty: int
    every: int
    """Cameras."""
    timeline: Timeline | None
    outside: ClassVar[str] = OUTSIDE


def clocks_section(files: pa.Table) -> Clocks:
    """Of the files among IMAGES; only those that metadata name have a clock."""
    known = taken(files).filter(pc.field("camera").is_valid())
    counts = counted(known, "survey", "camera", "place", "clock_flags")
    rows, cameras = _flags(counts), _cameras(known, counts)
    return Clocks(
        files=len(known),
        distrusted=sum(count for (*_, flags), count in counts.items() if not trusts(flags)),
        rows=rows,
        cameras=cameras[:MOST_CAMERAS],
        faulty=len(cameras),
        every=len({name[:2] for name in counts}),
        timeline=_timeline(known),
        advice=[f"{some(row.files, 'file')} ({row.meaning}): {words.flag(row.name).remedy}" for row in rows[:4]
                if words.flag(row.name).remedy] or ["Nothing: no clock is in doubt."],
    )  # fmt: skip


def _flags(counts: Counter[tuple]) -> list[FlagRow]:
    files, cameras = Counter[str](), defaultdict[str, set[tuple]](set)
    for (survey, camera, _, flags), count in counts.items():
        for name in flags.split("|") if flags else ():
            files[name] += count
            cameras[name].add((survey, camera))
    order = sorted(files, key=lambda name: (name in HARMLESS, -files[name], name))
    return [
        FlagRow(name, words.flag(name).meaning, name in HARMLESS, files[name], len(cameras[name])) for name in order
    ]


def _cameras(known: pa.Table, counts: Counter[tuple]) -> list[CameraRow]:
    """Cameras with distrusted files, most of them first."""
    files, distrusted, flags = Counter[tuple](), Counter[tuple](), defaultdict[tuple, Counter[str]](Counter)
    places: dict[tuple, str | None] = {}
    for (survey, camera, place, written), count in counts.items():
        name = (survey, camera)
        files[name] += count
        places[name] = place
        if not trusts(written):
            distrusted[name] += count
            flags[name].update(dict.fromkeys(written.split("|"), count))
    examples = _examples(known)
    order = sorted(distrusted, key=lambda name: (-distrusted[name], name))
    return [
        CameraRow(name[1], places[name], files[name], distrusted[name], flags[name].most_common(), examples[name])
        for name in order
    ]


def _examples(known: pa.Table) -> dict[tuple, str]:
    """Survey and camera to the first of its distrusted files."""
    flagged = known.filter(pc.field("clock_flags").is_valid()).select(["survey", "camera", "key", "clock_flags"])
    found: dict[tuple, str] = {}
    for survey, camera, key, flags in zip(*(column.to_pylist() for column in flagged.columns), strict=True):
        if (survey, camera) not in found and not trusts(flags):
            found[survey, camera] = key
    return found


def _timeline(known: pa.Table) -> Timeline | None:
    """None where no file has a time."""
    counts = counted(known.filter(pc.field("month").is_valid()), "place", "month", "clock_flags")
    if not counts:
        return None
    named, believed = ({month for _, month, flags in counts if every or trusts(flags)} for every in (True, False))
    period_of = _periods(named, believed or named)
    periods = list(dict.fromkeys(period_of.values()))
    sizes = Counter[str]()
    for (place, _, _), count in counts.items():
        sizes[place or charts.NOWHERE] += count
    order = [place for place, _ in sorted(sizes.items(), key=lambda one: (-one[1], one[0]))]
    shown = order[:MOST_PLACES]
    row = {place: min(number, len(shown)) for number, place in enumerate(order)}
    cells = np.zeros((2, len(shown) + (len(order) > len(shown)), len(periods)), np.int64)
    for (place, month, flags), count in counts.items():
        at = row[place or charts.NOWHERE], periods.index(period_of.get(month, OUTSIDE))
        cells[0][at] += count
        cells[1][at] += 0 if trusts(flags) else count
    others = len(order) - len(shown)
    names = [*shown, *([f"{others} others"] if others else [])]
    return Timeline(names, periods, cells[0], cells[1], others)


def _periods(named: set[str], believed: set[str]) -> dict[str, str]:
    """Every month from the first to the last `believed` one, to the period that it is counted in: itself, or of many
    months the year. OUTSIDE stands for all others that are `named`, where there are any."""
    every = _months(believed)
    found = {month: month[:4] if len(every) > MOST_COLUMNS else month for month in every}
    return found | ({OUTSIDE: OUTSIDE} if named - found.keys() else {})


def _months(named: set[str]) -> list[str]:
    """Every month from the first to the last."""
    first, last = min(named), max(named)
    numbers = range(int(first[:4]) * 12 + int(first[5:]) - 1, int(last[:4]) * 12 + int(last[5:]))
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]
