"""Which event a medium belongs to, and which media an event-level observation of Camtrap DP reaches.

Media carry no event id of their own (Camtrap DP 1.0.2): it comes from their media-level observations, else from the
event-level observation of the same deployment whose eventStart..eventEnd holds their timestamp. Times are compared as
instants, since packages write media times and event times with different offsets. An event is of one deployment: its id
is unique there alone.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Moment:
    """What an event-level observation says of its event; start and end in epoch seconds, null = not readable."""

    deployment: str | None
    event_id: str | None
    start: float | None
    end: float | None


@dataclass(frozen=True)
class Reach:
    """The media of one event-level observation: those without a label of their own, and those that have one."""

    open: list[str] = field(default_factory=list)
    labelled: list[str] = field(default_factory=list)


class Events:
    """Takes every medium once, through `of`; afterwards `reached_by` answers for each event-level observation.

    event_of: the event that a medium's own observations state.
    """

    def __init__(self, moments: list[Moment], event_of: Mapping[str, str]) -> None:
        self._event_of = event_of
        self._spans = {name: _Spans(spans) for name, spans in _by_deployment(moments).items()}
        self._by_event: dict[tuple[str | None, str], list[str]] = defaultdict(list)
        self._by_time: dict[str | None, list[tuple[float, str]]] = defaultdict(list)

    def of(self, media_id: str, deployment: str | None, instant: float | None) -> str | None:
        """The event of a medium, which is remembered as a member of it."""
        event_id = self._event_of.get(media_id)
        if event_id is None and instant is not None and deployment in self._spans:
            event_id = self._spans[deployment].event_at(instant)
        if event_id is not None:
            self._by_event[deployment, event_id].append(media_id)
        if instant is not None:
            insort(self._by_time[deployment], (instant, media_id))
        return event_id

    def reached_by(self, moment: Moment, labelled: Container[str]) -> Reach:
        """The members of its event by eventID, else the deployment's media between its start and end; `labelled`: media
        whose own label goes before this one."""
        reach = Reach()
        for media_id in self._by_event.get((moment.deployment, moment.event_id or "")) or self.within(moment):
            (reach.labelled if media_id in labelled else reach.open).append(media_id)
        return reach

    def within(self, moment: Moment) -> list[str]:
        """The deployment's media between its start and end, of whichever event: events may overlap."""
        if moment.start is None or moment.end is None:
            return []
        times = self._by_time.get(moment.deployment, [])
        first = bisect_left(times, moment.start, key=itemgetter(0))
        return [media_id for _, media_id in times[first : bisect_right(times, moment.end, key=itemgetter(0))]]


def apart(media: pa.Table) -> pa.Table:
    """MEDIA whose event ids are unique: one that stands at two deployments, where each numbers its own events, gets its
    deployment before it. Others stay as they are."""
    events, deployments = media["event_id"], pc.call_function("coalesce", [media["deployment_id"], pa.scalar("")])
    pairs = pa.table([events, deployments], ["event", "deployment"]).group_by("event")
    counted = pairs.aggregate([("deployment", "count_distinct")])
    shared = counted.filter(pc.field("deployment_count_distinct") > 1)["event"].drop_null()
    scoped = pc.call_function("binary_join_element_wise", [deployments, events, pa.scalar("/")])
    is_shared = pc.call_function("is_in", [events], pc.SetLookupOptions(shared))
    own = pc.call_function("if_else", [is_shared, scoped, events])
    position = media.schema.get_field_index("event_id")
    return media.set_column(position, media.schema.field(position), own)


def _by_deployment(moments: list[Moment]) -> dict[str, list[tuple[float, float, str]]]:
    spans: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for moment in moments:
        if None not in (moment.deployment, moment.event_id, moment.start, moment.end):
            spans[str(moment.deployment)].append((moment.start or 0, moment.end or 0, str(moment.event_id)))
    return spans


class _Spans:
    """The events of one deployment, searched by time; of several that hold an instant the latest to start is taken."""

    def __init__(self, spans: list[tuple[float, float, str]]) -> None:
        self._spans = sorted(spans)
        self._starts = [start for start, _, _ in self._spans]
        self._latest_end = list(accumulate((end for _, end, _ in self._spans), max))

    def event_at(self, instant: float) -> str | None:
        position = bisect_right(self._starts, instant) - 1
        while position >= 0 and self._latest_end[position] >= instant:
            if self._spans[position][1] >= instant:
                return self._spans[position][2]
            position -= 1
        return None
