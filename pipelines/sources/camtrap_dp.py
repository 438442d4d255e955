"""Camtrap DP 1.0.x, the exchange standard for camera-trap data (https://camtrap-dp.tdwg.org, read against 1.0.2).

Media-level observations say what one file shows. Event-level observations say what a burst showed: they reach a file
only where no media-level observation classifies it, so that no label counts twice.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from infra.storage import Store
from pipelines.sources.boxes import relative_box
from pipelines.sources.camtrap_events import Events, Moment
from pipelines.sources.camtrap_package import NEEDED, check_profile, licence, read_places, read_table, read_taxa
from pipelines.sources.clock import Clock, read_clock
from pipelines.sources.labels import taxon
from pipelines.sources.reading import BadPath, archive_key, iterate, read_json
from pipelines.sources.rows import SurveyRows, flag, number, text, whole
from pipelines.sources.schema import Refused, Survey
from xmodal.settings import Settings

TYPES = ("animal", "human", "vehicle", "blank", "unknown", "unclassified")
_BOX = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")


class CamtrapDP(Settings):
    """A Camtrap DP package and the media files it names."""

    kind: Literal["camtrap_dp"]
    package: str = "datapackage.json"
    """Key of the package's descriptor in the archive."""
    media_prefix: str | None = None
    """Folder of the archive that `filePath` is relative to; without it the package's own folder."""

    def read(self, store: Store) -> Survey:
        """Reads the survey; refused rows are counted by reason. Raises DataRefused, infra.storage.NotFound."""
        package = read_json(store, self.package)
        check_profile(package, f"{store.url}/{self.package}")
        tables = {name: read_table(store, self.package, package, name) for name in NEEDED}
        prefix = self.package.rpartition("/")[0] if self.media_prefix is None else self.media_prefix
        rows = SurveyRows()
        places = read_places(tables["deployments"], rows.refused)
        observations = _read_observations(tables["observations"], rows.refused)
        events = Events(observations.by_event, {name: list(own) for name, own in observations.by_media.items()})
        media = _Media(rows, places, events, licence(package), prefix, store.hosts)
        for row in iterate(tables["media"]):
            media.add(row)
        _add_labels(rows, media, observations, events, read_taxa(package))
        return rows.survey(f"{store.url}/{self.package}", tables["media"].num_rows)


@dataclass(frozen=True)
class _Observations:
    """Usable rows: media-level ones by mediaID, event-level ones as a list; and the events that both name."""

    by_media: dict[str, list[dict[str, Any]]]
    of_events: list[dict[str, Any]]
    by_event: list[Moment]


def _read_observations(table: pa.Table, refused: Refused) -> _Observations:
    found = _Observations({}, [], [])
    for row in iterate(table):
        example = f"observation {row.get('observationID')}"
        level, media_id = row["observationLevel"], text(row.get("mediaID"))
        if level not in ("media", "event") or row["observationType"] not in TYPES:
            refused.add("unknown_level" if level not in ("media", "event") else "unknown_type", example)
        elif level == "media" and media_id is None:
            refused.add("no_media_id", example)
        elif level == "media":
            found.by_media.setdefault(str(media_id), []).append(row)
        else:
            found.of_events.append(row)
            found.by_event.append(_moment(row, refused))
    return found


def _moment(row: dict[str, Any], refused: Refused) -> Moment:
    start = read_clock(row.get("eventStart"), refused).instant
    end = read_clock(row.get("eventEnd"), refused).instant
    return Moment(text(row["deploymentID"]), text(row.get("eventID")), start, start if end is None else end)


class _Media:
    """The media taken and refused so far, by mediaID."""

    def __init__(
        self,
        rows: SurveyRows,
        places: dict[str, str | None],
        events: Events,
        licence: str | None,
        prefix: str,
        hosts: frozenset[str],
    ) -> None:
        self._rows, self._places, self._events = rows, places, events
        self._licence, self._prefix, self._hosts = licence, prefix, hosts
        self._keys: set[str] = set()
        self.taken: set[str] = set()
        self.refused: set[str] = set()

    def add(self, row: dict[str, Any]) -> None:
        media_id = text(row["mediaID"])
        try:
            key = archive_key(row["filePath"], self._prefix, self._hosts)
            self._check(media_id, key, row)
        except BadPath as fault:
            self._rows.refused.add(fault.reason, f"{media_id}: {row['filePath']!s:.80}")
            if media_id is not None and media_id not in self.taken and media_id not in self.refused:
                self.refused.add(media_id)
                self._add_event(media_id, row, Refused())  # so that its event's labels are known to be about it
            return
        self._keys.add(key)
        self.taken.add(str(media_id))
        self._add_row(str(media_id), key, row)

    def _add_event(self, media_id: str, row: dict[str, Any], refused: Refused) -> tuple[Clock, str | None]:
        clock = read_clock(row["timestamp"], refused)
        return clock, self._events.of(media_id, text(row["deploymentID"]), clock.instant)

    def _check(self, media_id: str | None, key: str, row: dict[str, Any]) -> None:
        if media_id is None:
            raise BadPath("no_id")
        if not (row.get("fileMediatype") or "image/").startswith("image/"):
            raise BadPath("not_an_image")
        if media_id in self.taken or media_id in self.refused:
            raise BadPath("duplicate_id")
        if key in self._keys:
            raise BadPath("duplicate_file")

    def _add_row(self, media_id: str, key: str, row: dict[str, Any]) -> None:
        deployment = text(row["deploymentID"])
        if deployment not in self._places:
            self._rows.refused.add("unknown_deployment", f"{media_id}: {deployment}")
        clock, event_id = self._add_event(media_id, row, self._rows.refused)
        self._rows.media.add(
            media_id=media_id,
            key=key,
            deployment_id=deployment,
            place=self._places.get(deployment or ""),
            event_id=event_id,
            captured_at=clock.wall,
            utc_offset=clock.utc_offset,
            public=flag(row["filePublic"]),
            licence=self._licence,
        )


def _add_labels(
    rows: SurveyRows,
    media: _Media,
    observations: _Observations,
    events: Events,
    taxa: dict[str, dict[str, str | None]],
) -> None:
    for media_id, own in observations.by_media.items():
        for row in own:
            if media_id in media.taken:
                _add_label(rows, media_id, row, taxa)
            else:
                reason = "observation_of_refused_media" if media_id in media.refused else "unknown_media"
                rows.refused.add(reason, f"observation {row.get('observationID')} of {media_id}")
    for row, moment in zip(observations.of_events, observations.by_event, strict=True):
        reached = events.reached_by(moment)
        open_media = [media_id for media_id in reached.open if media_id in media.taken]
        for media_id in open_media:
            _add_label(rows, media_id, row, taxa)
        if not open_media:
            refused = "observation_of_refused_media" if reached.open else "event_without_media"
            reason = "event_label_superseded" if reached.labelled else refused
            rows.refused.add(reason, f"observation {row.get('observationID')} of event {moment.event_id}")


def _add_label(rows: SurveyRows, media_id: str, row: dict[str, Any], taxa: dict[str, dict[str, str | None]]) -> None:
    kind, name = row["observationType"], text(row.get("scientificName"))
    known: dict[str, str | None] = {}
    if kind == "animal" and name is not None:
        known = taxa.get(name) or dict(zip(("taxon", "rank"), taxon(name), strict=True))
    box = [row.get(column) for column in _BOX]
    example = f"observation {row.get('observationID')} of {media_id}"
    rows.observations.add(
        media_id=media_id,
        level=row["observationLevel"],
        type=kind,
        label=name or kind,
        count=whole(row.get("count"), least=1),
        life_stage=text(row.get("lifeStage")),
        sex=text(row.get("sex")),
        behavior=text(row.get("behavior")),
        box=None if box == [None] * 4 else relative_box(box, rows.refused, example),
        confidence=number(row.get("classificationProbability")),
        method=text(row.get("classificationMethod")),
        origin="camtrap_dp",
        **known,
    )
