"""Camtrap DP 1.0.x, the exchange standard for camera-trap data (https://camtrap-dp.tdwg.org, read against 1.0.2).

Media-level observations say what one file shows. Event-level observations say what a burst showed: they reach a file
only where no media-level observation of as much weight (people's, then machines') classifies it, so that no label
counts twice.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import pyarrow as pa

from infra.storage import Store
from pipelines.sources.boxes import relative_box
from pipelines.sources.camtrap_events import Events, Moment, Reach, apart
from pipelines.sources.camtrap_package import (
    NEEDED,
    check_profile,
    descriptor_key,
    licence,
    read_deployments,
    read_resource,
    read_taxa,
)
from pipelines.sources.clock import Clock, read_clock
from pipelines.sources.deployments import add_deployments
from pipelines.sources.labels import SILENT, observation_type, scientific
from pipelines.sources.reading import BadPath, archive_key, iterate, read_json
from pipelines.sources.rows import SurveyRows, flag, individuals, number, text
from pipelines.sources.schema import PEOPLE, Refused, Survey
from pipelines.sources.zips import WithZips
from xmodal.settings import Settings

TYPES = ("animal", "human", "vehicle", "blank", "unknown", "unclassified")
_BOX = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")


class CamtrapDP(Settings):
    """A Camtrap DP package and the media files it names."""

    kind: Literal["camtrap_dp"]
    package: str = "datapackage.json"
    """Key of the package's descriptor in the archive, or of a zip that holds the package."""
    media_prefix: str | None = None
    """Folder of the archive that `filePath` is relative to; without it the package's own folder or zip."""

    def read(self, store: Store) -> Survey:
        """Reads the survey; refused rows are counted by reason. Raises DataRefused, infra.storage.NotFound."""
        with WithZips(store) as files:
            return self._read(cast(Store, files), descriptor_key(self.package))

    def _read(self, store: Store, descriptor: str) -> Survey:
        name = f"{store.url}/{descriptor}"
        package = read_json(store, descriptor)
        check_profile(package, name)
        rows = SurveyRows()
        tables = {table: read_resource(store, descriptor, package, table, rows.refused) for table in NEEDED}
        prefix = descriptor.rpartition("/")[0] if self.media_prefix is None else self.media_prefix
        deployments = read_deployments(tables["deployments"], rows.refused)
        observed = _read_observations(tables["observations"], rows.refused)
        events = Events(observed.by_event, observed.event_of)
        places = {key: one.place for key, one in deployments.items()}
        media = _Media(rows, places, events, licence(package), prefix, store.hosts)
        for row in iterate(tables["media"]):
            media.add(row)
        _add_labels(rows, media, tables["observations"], events, observed, read_taxa(package))
        add_deployments(rows.deployments, deployments, media.offsets)
        survey = rows.survey(name, tables["media"].num_rows)
        return replace(survey, media=apart(survey.media))


@dataclass(frozen=True)
class _Observed:
    """What a first pass over the observations gathers: which media people have labelled and which anybody has, which
    event each is of, and the event of every event-level row. Rows that cannot be used are refused here; the second pass
    skips them."""

    by_people: set[str]
    by_anybody: set[str]
    event_of: dict[str, str]
    by_event: list[Moment]

    def labelled(self, row: dict[str, Any]) -> set[str]:
        """Media whose own label goes before this event-level row."""
        return self.by_anybody if _by_machine(row) else self.by_people


def _read_observations(table: pa.Table, refused: Refused) -> _Observed:
    found = _Observed(set(), set(), {}, [])
    for row in iterate(table):
        if (fault := _fault(row)) is not None:
            refused.add(fault, f"observation {row['observationID']}")
        elif row["observationLevel"] == "event":
            found.by_event.append(_moment(row, refused))
        else:
            media_id, event_id = str(text(row["mediaID"])), text(row["eventID"])
            if event_id is not None:
                found.event_of.setdefault(media_id, event_id)
            if _kind(row) not in SILENT:
                found.by_anybody.add(media_id)
                if not _by_machine(row):
                    found.by_people.add(media_id)
    return found


def _by_machine(row: dict[str, Any]) -> bool:
    return text(row["classificationMethod"]) == "machine"


def _fault(row: dict[str, Any]) -> str | None:
    if row["observationLevel"] not in ("media", "event"):
        return "unknown_level"
    if row["observationType"] not in TYPES:
        return "unknown_type"
    return "no_media_id" if row["observationLevel"] == "media" and text(row["mediaID"]) is None else None


def _moment(row: dict[str, Any], refused: Refused) -> Moment:
    about = f"observation {row['observationID']}"
    start, end = (read_clock(row[name], refused, about=about).instant for name in ("eventStart", "eventEnd"))
    return Moment(text(row["deploymentID"]), text(row["eventID"]), start, start if end is None else end)


class _Media:
    """The media taken and refused so far, by mediaID; a refused row without one goes by its key."""

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
        self.taken: dict[str, str] = {}
        """Key of each medium."""
        self.refused: set[str] = set()
        self.also: dict[str, list[str]] = {}
        """Keys that refused rows of an id name: what is said of their medium is said of these files."""
        self.offsets: dict[str | None, tuple[int, int]] = {}
        """Seconds east of UTC of a deployment's first and last medium."""

    def add(self, row: dict[str, Any]) -> None:
        media_id, key = text(row["mediaID"]), None
        try:
            key = archive_key(row["filePath"], self._prefix, self._hosts)
            self._check(media_id, key, row)
        except BadPath as fault:
            self._rows.refused.add(fault.reason, f"{media_id}: {row['filePath']!s:.80}")
            self._refuse(media_id or key, key, row)
            return
        self._keys.add(key)
        self.taken[str(media_id)] = key
        self._add_row(str(media_id), key, row)

    def keys(self, media_id: str) -> list[str]:
        """The files that rows of this id name, taken or refused."""
        return [*([self.taken[media_id]] if media_id in self.taken else []), *self.also.get(media_id, [])]

    def _refuse(self, identity: str | None, key: str | None, row: dict[str, Any]) -> None:
        if identity is not None and identity not in self.taken and identity not in self.refused:
            self._add_event(identity, row, Refused())  # so that its event's labels are known to be about it
        if identity is not None:
            self.refused.add(identity)
        if identity is not None and key is not None:
            self.also.setdefault(identity, []).append(key)
        if key is not None and flag(row["filePublic"]) is False:
            self._rows.signs.add(key=key, kind="not_public")

    def _add_event(self, media_id: str, row: dict[str, Any], refused: Refused) -> tuple[Clock, str | None]:
        clock = read_clock(row["timestamp"], refused, about=media_id)
        return clock, self._events.of(media_id, text(row["deploymentID"]), clock.instant)

    def _check(self, media_id: str | None, key: str, row: dict[str, Any]) -> None:
        if media_id is None:
            raise BadPath("no_id")
        if not (row["fileMediatype"] or "image/").startswith("image/"):
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
        if clock.utc_offset is not None:
            self.offsets[deployment] = (self.offsets.get(deployment, (clock.utc_offset, 0))[0], clock.utc_offset)
        self._rows.media.add(
            media_id=media_id,
            key=key,
            deployment_id=deployment,
            place=self._places.get(deployment or ""),
            event_id=event_id,
            **clock.columns,
            public=flag(row["filePublic"]),
            licence=self._licence,
        )


def _add_labels(
    rows: SurveyRows,
    media: _Media,
    table: pa.Table,
    events: Events,
    observed: _Observed,
    taxa: dict[str, dict[str, str | None]],
) -> None:
    moments = iter(observed.by_event)
    for row in iterate(table):
        usable, media_id = _fault(row) is None, text(row["mediaID"])
        of_event = row["observationLevel"] == "event" or media_id is None
        if of_event:
            moment = next(moments) if usable else _moment(row, Refused())
            reach, seen = events.reached_by(moment, observed.labelled(row)), events.within(moment)
        else:
            reach, seen = Reach([str(media_id)]), []
        for about in dict.fromkeys((*reach.open, *reach.labelled, *seen)):
            rows.sign(media.keys(about), _kind(row))
        reached = [about for about in reach.open if about in media.taken] if usable else []
        for about in reached:
            _add_label(rows, about, row, taxa)
        if usable and not reached:
            fault = _of_event(reach) if of_event else _of_medium(str(media_id), media)
            rows.refused.add(fault, f"observation {row['observationID']} of {row['mediaID'] or row['eventID']}")


def _of_event(reach: Reach) -> str:
    """Why an event's label reaches no medium."""
    refused = "observation_of_refused_media" if reach.open else "event_without_media"
    return "event_label_superseded" if reach.labelled else refused


def _of_medium(media_id: str, media: _Media) -> str:
    """Why a label of one medium reaches none."""
    return "observation_of_refused_media" if media_id in media.refused else "unknown_media"


def _add_label(rows: SurveyRows, media_id: str, row: dict[str, Any], taxa: dict[str, dict[str, str | None]]) -> None:
    kind, name = _kind(row), text(row["scientificName"])
    known: dict[str, str | None] = {}
    if kind == "animal" and name is not None:
        known = taxa.get(name) or dict(zip(("taxon", "rank"), scientific(name), strict=True))
    box = [row[column] for column in _BOX]
    example = f"observation {row['observationID']} of {media_id}"
    rows.observations.add(
        media_id=media_id,
        level=row["observationLevel"],
        type=kind,
        label=name or kind,
        count=individuals(row["count"], kind, rows.refused, example),
        life_stage=text(row["lifeStage"]),
        sex=text(row["sex"]),
        behavior=text(row["behavior"]),
        box=None if box == [None] * 4 else relative_box(box, rows.refused, example),
        confidence=number(row["classificationProbability"]),
        method=text(row["classificationMethod"]),
        origin="camtrap_dp",
        **known,
    )


def _kind(row: dict[str, Any]) -> str:
    """The type; a frame of the camera being set up or calibrated that nobody has named shows who does it, and a person
    is one of whatever type the row is (`animal`, `Homo sapiens`, `Homo sp.`)."""
    unnamed = row["observationType"] in SILENT and text(row["cameraSetupType"]) is not None
    shown = "human" if unnamed else observation_type(text(row["observationType"]), text(row["scientificName"]))
    return shown if shown in PEOPLE else row["observationType"]
