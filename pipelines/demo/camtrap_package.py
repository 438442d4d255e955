"""The generated survey as a Camtrap DP 1.0.2 package: descriptor, deployments, media, observations of both levels."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import groupby

from pipelines.demo.files import PLANTED_NAME, Shot
from pipelines.demo.species import Species
from pipelines.demo.visits import SUMMER, Visit, place_name

PROFILE = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
TITLE = "Generated survey, no real animals"
_SCHEMA = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/{}-table-schema.json"
_DEPLOYMENTS = ("deploymentID", "locationID", "locationName", "latitude", "longitude", "deploymentStart",
                "deploymentEnd", "setupBy", "timestampIssues")  # fmt: skip
_MEDIA = ("mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName",
          "fileMediatype")  # fmt: skip
_OBSERVATIONS = ("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
                 "observationType", "scientificName", "count", "lifeStage", "sex", "behavior", "bboxX", "bboxY",
                 "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy")  # fmt: skip


def camtrap_files(shots: list[Shot], missing: list[str], species: tuple[Species, ...]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the package's files. `missing` are keys that the package names and the archive lacks."""
    visits = list(dict.fromkeys(shot.frame.visit for shot in shots))
    yield "datapackage.json", json.dumps(_descriptor(species, visits), indent=1, ensure_ascii=False).encode()
    yield "deployments.csv", _table(_DEPLOYMENTS, _deployments(visits))
    yield "media.csv", _table(_MEDIA, [*map(_medium, shots), *(_lost_medium(key, visits[0]) for key in missing)])
    yield "observations.csv", _table(_OBSERVATIONS, _observations(shots, species))


def _table(columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def _descriptor(species: tuple[Species, ...], visits: list[Visit]) -> dict[str, object]:
    names = ("deployments", "media", "observations")
    resources = [
        {"name": name, "path": f"{name}.csv", "profile": "tabular-data-resource", "schema": _SCHEMA.format(name)}
        for name in names
    ]
    box = [[7.0, 48.5], [7.5, 48.5], [7.5, 48.9], [7.0, 48.9], [7.0, 48.5]]
    return {
        "resources": resources,
        "profile": PROFILE,
        "name": "generated-survey",
        "title": TITLE,
        "description": "Drawn by a program to try xmodal out. Every animal, person, place and date in it is invented.",
        "created": "2025-10-01T00:00:00Z",
        "contributors": [{"title": "xmodal", "role": "publisher"}],
        "licenses": [{"name": "CC0-1.0", "scope": "data"}, {"name": "CC0-1.0", "scope": "media"}],
        "project": {
            "title": TITLE,
            "samplingDesign": "simpleRandom",
            "captureMethod": ["activityDetection"],
            "individualAnimals": False,
            "observationLevel": ["media", "event"],
        },
        "spatial": {"type": "Polygon", "coordinates": [box]},
        "temporal": {
            "start": f"{min(visit.start for visit in visits):%Y-%m-%d}",
            "end": f"{max(visit.start for visit in visits):%Y-%m-%d}",
        },
        "taxonomic": [
            {"scientificName": one.taxon, "taxonRank": "species", **one.lineage, "vernacularNames": one.names}
            for one in species
        ],
    }


def _deployments(visits: list[Visit]) -> Iterator[dict[str, object]]:
    for place, group in groupby(visits, key=lambda visit: visit.place):
        starts = [visit.start for visit in group]
        yield {
            "deploymentID": f"deployment-{place + 1:02d}",
            "locationID": place_name(place),
            "locationName": f"generated place {place + 1}",
            "latitude": f"{48.5 + 0.0137 * place:.6f}",
            "longitude": f"{7.0 + 0.0119 * place:.6f}",
            "deploymentStart": _local(min(starts) - timedelta(hours=1)),
            "deploymentEnd": _local(max(starts) + timedelta(hours=1)),
            "setupBy": PLANTED_NAME,
            "timestampIssues": "false",
        }


def _local(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}+{int(SUMMER.total_seconds()) // 3600:02d}:00"


def _utc(moment: datetime) -> str:
    return f"{moment - SUMMER:%Y-%m-%dT%H:%M:%S}Z"


def _medium(shot: Shot) -> dict[str, object]:
    frame = shot.frame
    return {
        "mediaID": f"m{frame.number:06d}",
        "deploymentID": f"deployment-{frame.visit.place + 1:02d}",
        "captureMethod": "activityDetection",
        "timestamp": _local(frame.moment),
        "filePath": frame.key,
        "filePublic": "false" if frame.visit.subject == "human" else "true",
        "fileName": frame.key.rpartition("/")[2],
        "fileMediatype": "image/jpeg",
    }


def _lost_medium(key: str, visit: Visit) -> dict[str, object]:
    return {
        "mediaID": f"lost-{key}",
        "deploymentID": f"deployment-{visit.place + 1:02d}",
        "captureMethod": "activityDetection",
        "timestamp": _local(visit.start - timedelta(minutes=30)),
        "filePath": key,
        "filePublic": "true",
        "fileName": key.rpartition("/")[2],
        "fileMediatype": "image/jpeg",
    }


def _observations(shots: list[Shot], species: tuple[Species, ...]) -> Iterator[dict[str, object]]:
    """Every event has an event-level row; its frames have rows of their own unless only the event was labelled."""
    for visit, group in groupby(shots, key=lambda shot: shot.frame.visit):
        frames = list(group)
        span = {"eventStart": _utc(frames[0].frame.moment), "eventEnd": _utc(frames[-1].frame.moment)}
        common = {
            "deploymentID": f"deployment-{visit.place + 1:02d}",
            "eventID": visit.event_id,
            "classificationMethod": "human",
            "classifiedBy": PLANTED_NAME,
        }
        yield {"observationID": f"{visit.event_id}-e", "observationLevel": "event", **common, **span,
               **_facts(visit, species, True)}  # fmt: skip
        for shot in [] if visit.labelled_by_event else frames:
            moment = _utc(shot.frame.moment)
            yield {
                "observationID": f"m{shot.frame.number:06d}-o",
                "mediaID": f"m{shot.frame.number:06d}",
                "observationLevel": "media",
                "eventStart": moment,
                "eventEnd": moment,
                **common,
                **_facts(visit, species, shot.frame.occupied and bool(shot.boxes)),
                **_box(shot),
            }


def _facts(visit: Visit, species: tuple[Species, ...], seen: bool) -> dict[str, object]:
    """What the archive knows: sex, age and behaviour only where stated and the same for all of a group."""
    if not seen or visit.subject != "animal":
        return {"observationType": visit.subject if seen else "blank"}
    group = visit.individuals
    facts: dict[str, object] = {
        "observationType": "animal",
        "scientificName": species[visit.species].taxon,
        "count": len(group),
    }
    if group[0].stated:
        stages = {"juvenile" if one.juvenile else "adult" for one in group}
        sexes = {"male" if one.male else "female" for one in group}
        facts["behavior"] = group[0].behaviour
        facts["lifeStage"] = stages.pop() if len(stages) == 1 else ""
        facts["sex"] = sexes.pop() if len(sexes) == 1 and stages != {"juvenile"} else ""
    return facts


def _box(shot: Shot) -> dict[str, object]:
    """One box fits one row: only a frame with a single animal states it, and only every second one."""
    if len(shot.boxes) != 1 or shot.frame.number % 2:
        return {}
    columns = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")
    return {name: f"{value:.4f}" for name, value in zip(columns, shot.boxes[0], strict=True)}
