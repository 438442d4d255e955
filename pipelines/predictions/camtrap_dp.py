"""A new Camtrap DP 1.0.2 package (https://camtrap-dp.tdwg.org) of the images and what the model says of them."""

import csv
import json
import mimetypes
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.errors import DataRefused
from pipelines.predictions.camtrap_observations import OBSERVATIONS, Observed
from pipelines.predictions.deployments import DEPLOYMENTS, Deployed
from pipelines.predictions.ladder import Ladder
from pipelines.predictions.made_by import Maker
from pipelines.predictions.moments import Moments
from pipelines.predictions.recorded import recorded
from pipelines.predictions.whole import Whole
from pipelines.progress import warn

SCHEMAS = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"
MEDIA = (
    "mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName", "fileMediatype",
    "exifData", "favorite", "mediaComments",
)  # fmt: skip
FILE_PATH = re.compile(r"^(?=^[^./~])(^((?!\.{2}).)*$).*$")
"""What the standard takes for a path."""
FOLDER = "camtrap-dp"


class NewPackage:
    """Media, observations of them and of their events, and the deployments that the user's table tells of."""

    def __init__(self, folder: Path, maker: Maker, ladder: Ladder, deployed: Deployed, moments: Moments,
                 public: bool, reviewed: bool) -> None:  # fmt: skip
        """`public`: whether people and frames that are not public were kept out of these images. `reviewed`: whether
        what people say of a frame stands in place of the model's answer to it and to its event."""
        self._home, self._maker, self._ladder = folder / FOLDER, maker, ladder
        self._deployed, self._moments, self._public, self._reviewed = deployed, moments, public, reviewed
        self._observed = Observed(maker, moments)
        self._files = {name: Whole(self._home / f"{name}.csv") for name in ("media", "observations", "deployments")}
        self._media = _writer(self._files["media"], MEDIA)
        self._observations = _writer(self._files["observations"], OBSERVATIONS)
        self._said: dict[tuple[str, str], dict[str, str]] = {}
        """Rank and name of taxa to what people know of the ranks above."""
        self._labelled: set[tuple[str, str]] = set()
        """Survey and name of events of which people have labelled a frame."""
        self._last: str | None = None
        self.left_out = dict.fromkeys(("without a time", "of which the offset from UTC is not known",
                                       "whose path the standard does not take"), 0)  # fmt: skip

    def frames(self, rows: pa.Table) -> None:
        for row in rows.to_pylist():
            moment = self._moments.written(row["captured_at"], row["utc_offset"])
            if moment is None or not FILE_PATH.match(row["file"]):
                self._leave_out(row)
            else:
                self._add(row, moment)

    def _leave_out(self, row: dict[str, Any]) -> None:
        timeless, zoneless, other = self.left_out
        known = self._moments.written(row["captured_at"], row["utc_offset"]) is not None
        self.left_out[other if known else zoneless if row["captured_at"] else timeless] += 1

    def _add(self, row: dict[str, Any], moment: str) -> None:
        self._deployed.add(row["deployment_id"], moment)
        if row["media_id"] != self._last:  # crops of one frame stand together
            self._media.writerow(_medium(row, moment, self._public))
            self._last = row["media_id"]
        if row["refused"] is None:
            by_people = recorded(row) if self._reviewed else None
            if by_people and row["event_id"]:
                self._labelled.add((row["survey"], row["event_id"]))
            self._observe(self._observed.of_medium(by_people or row), by_people or row)

    def _observe(self, observation: dict[str, Any] | None, row: Mapping[str, Any]) -> None:
        if observation is not None:
            self._observations.writerow(observation)
            if row["taxon"] and row["rank"]:
                self._said.setdefault((row["rank"], row["taxon"]), row.get("lineage", {}))

    def events(self, rows: pa.Table) -> None:
        """But for those of which people have labelled a frame."""
        for row in rows.to_pylist():
            if (row["survey"], row["event_id"]) not in self._labelled:
                self._observe(self._observed.of_event(row), row)

    def finish(self) -> list[str]:
        """Raises DataRefused where no image can stand in a package."""
        deployments = self._deployed.rows()
        for reason, count in self.left_out.items():
            if count:
                warn(f"camtrap-dp: {count:,} images {reason} are not in the package{_hint(reason)}")
        if not deployments:
            raise DataRefused("camtrap-dp: none of the images can stand in a package, see the warnings")
        _writer(self._files["deployments"], DEPLOYMENTS).writerows(deployments)
        whole = [self._files[name].keep() for name in ("deployments", "media", "observations")]
        return [*whole, self._describe(deployments)]

    def _describe(self, deployments: list[dict[str, str | None]]) -> str:
        file = Whole(self._home / "datapackage.json")
        taxa = taxonomic(self._ladder, self._said)
        document = descriptor(self._maker, deployments, taxa)
        file.text().write(json.dumps(document, ensure_ascii=False, indent=2))
        return file.keep()


def _hint(reason: str) -> str:
    return "; give it with --utc-offset, as +02:00" if "offset" in reason else ""


def _writer(file: Whole, fields: tuple[str, ...]) -> "csv.DictWriter[str]":
    writer = csv.DictWriter(file.text(), fields, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    return writer


def _medium(row: dict[str, Any], moment: str, public: bool) -> dict[str, Any]:
    return {
        "mediaID": row["media_id"], "deploymentID": row["deployment_id"], "timestamp": moment, "filePath": row["file"],
        "filePublic": "true" if public else "false", "fileName": row["file"].rpartition("/")[2],
        "fileMediatype": mimetypes.guess_type(row["file"])[0] or "image/jpeg",
    }  # fmt: skip


def taxonomic(ladder: Ladder, said: Mapping[tuple[str, str], Mapping[str, str]]) -> list[dict[str, Any]]:
    """Entries of the descriptor's `taxonomic` for (rank, name) pairs, with what else is known of the ranks above."""
    named = sorted(said, key=lambda one: (one[1], one[0]))
    return [_taxon(ladder, rank, name, said[rank, name]) for rank, name in named]


def _taxon(ladder: Ladder, rank: str, name: str, lineage: Mapping[str, str]) -> dict[str, Any]:
    known = ladder.taxa.get(name, {"lineage": lineage, "names": {}})
    higher = {**lineage, **known["lineage"], **ladder.lineage(rank, name)}
    entry: dict[str, Any] = {"scientificName": name, "taxonRank": rank}
    entry |= {one: higher[one] for one in ("kingdom", "phylum", "class", "order", "family", "genus") if one in higher}
    names = {code: called for code, called in known["names"].items() if re.fullmatch("[a-z]{3}", code)}
    return entry | ({"vernacularNames": names} if names else {})


def descriptor(maker: Maker, deployments: list[dict[str, str | None]], taxa: list[dict[str, Any]]) -> dict[str, Any]:
    """datapackage.json. What only the survey's people know (design, contributors, licences) stands as the most general
    word that the standard takes, for them to put right."""
    survey = str(maker.asked.get("survey") or maker.asked.get("dataset") or maker.asked.get("folder"))
    spans = [(_date(row["deploymentStart"]), _date(row["deploymentEnd"])) for row in deployments]
    return {
        "resources": [resource(name) for name in ("deployments", "media", "observations")],
        "profile": f"{SCHEMAS}/camtrap-dp-profile.json",
        "name": re.sub(r"[^a-z0-9._-]+", "-", survey.lower()).strip("-") or "predictions",
        "created": maker.at,
        "title": f"{survey}: predictions of {maker.model}",
        "contributors": [{"title": f"xmodal {maker.model}", "role": "contributor"}],
        "description": told(maker),
        "sources": [{"title": f"xmodal {maker.model}", "version": maker.model}],
        "project": {
            "title": survey,
            "samplingDesign": "opportunistic",
            "captureMethod": ["activityDetection"],
            "individualAnimals": False,
            "observationLevel": ["media", "event"],
        },
        "spatial": _area(deployments),
        "temporal": {"start": min(start for start, _ in spans), "end": max(end for _, end in spans)},
        "taxonomic": taxa,
        "xmodal": maker.document,
    }


def told(maker: Maker) -> str:
    """In a sentence, which model, dataset version and recipe made the observations."""
    columns = maker.columns
    return (
        f"Observations by the model {columns['model']}, trained on {columns['trained_on']} by the recipe "
        f"{columns['recipe']}, at thresholds for {100 * maker.wanted:g} % precision on validation images."
    )


def resource(name: str) -> dict[str, Any]:
    """The entry of one of the three tables."""
    return {
        "name": name, "path": f"{name}.csv", "profile": "tabular-data-resource", "format": "csv",
        "mediatype": "text/csv", "encoding": "utf-8", "schema": f"{SCHEMAS}/{name}-table-schema.json",
    }  # fmt: skip


def _date(moment: str | None) -> str:
    return datetime.fromisoformat(str(moment)).date().isoformat()


def _area(deployments: list[dict[str, str | None]]) -> dict[str, Any]:
    """GeoJSON: the point, or the rectangle around several."""
    points = [(float(row["longitude"] or 0), float(row["latitude"] or 0)) for row in deployments]
    west, east = min(x for x, _ in points), max(x for x, _ in points)
    south, north = min(y for _, y in points), max(y for _, y in points)
    if (west, south) == (east, north):
        return {"type": "Point", "coordinates": [west, south]}
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
