"""Deployments as archives state them: where a camera stood, and from when until when."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.sources.clock import Clock
from pipelines.sources.rows import Rows, number

DAY_END = "23:59:59"


@dataclass(frozen=True)
class Deployment:
    """One camera at one place for one period; `clock_fault` where the archive itself doubts its times."""

    place: str | None
    start: Clock
    end: Clock
    clock_fault: bool | None = None


def coordinates(row: Mapping[str, Any]) -> str | None:
    """Latitude and longitude to three digits (some 100 m), the place of a deployment that names none."""
    latitude, longitude = number(row.get("latitude")), number(row.get("longitude"))
    return None if latitude is None or longitude is None else f"{latitude:.3f},{longitude:.3f}"


def whole_day(clock: Clock) -> Clock:
    """An end that is a date, which is written as its midnight, as the last second of that day."""
    dated = clock.wall is not None and clock.wall.endswith("00:00:00")
    return replace(clock, wall=f"{clock.wall[:10]} {DAY_END}") if dated and clock.wall else clock


def add_deployments(
    table: Rows, deployments: Mapping[str, Deployment], offsets: Mapping[str | None, tuple[int, int]]
) -> None:
    """Rows of DEPLOYMENTS with the order of their dates. `offsets`: seconds east of UTC of a deployment's first and
    last medium; start and end, which may be written with another offset, are told in these, so that they compare with
    the media's wall times."""
    for identity, deployment in deployments.items():
        first, last = offsets.get(identity, (None, None))
        table.add(
            deployment_id=identity,
            place=deployment.place,
            start=_wall(deployment.start, first),
            end=_wall(deployment.end, last),
            clock_fault=deployment.clock_fault,
            start_order=deployment.start.order,
            end_order=deployment.end.order,
        )


def _wall(clock: Clock, offset: int | None) -> str | None:
    if clock.instant is None or offset is None:
        return clock.wall
    return (datetime.fromtimestamp(clock.instant, UTC) + timedelta(seconds=offset)).strftime("%Y-%m-%d %H:%M:%S")
