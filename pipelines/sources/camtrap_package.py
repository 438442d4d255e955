"""A Camtrap DP package's descriptor and its three tables: profile, resources, deployments, licence, taxa."""

import json
import re
from typing import Any

import pyarrow as pa

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.clock import read_clock
from pipelines.sources.deployments import Deployment, coordinates
from pipelines.sources.labels import RANKS, scientific
from pipelines.sources.reading import BadPath, archive_key, iterate
from pipelines.sources.rows import flag, text
from pipelines.sources.schema import Refused
from pipelines.sources.tables import ENDINGS, columns_of, read_table
from pipelines.sources.zips import zip_folder

NEEDED = {
    "deployments": ("deploymentID",),
    "media": ("mediaID", "deploymentID", "timestamp", "filePath", "filePublic"),
    "observations": ("deploymentID", "observationLevel", "observationType"),
}
"""The tables, and the columns without which they say nothing."""
_COPY = "copy it into the archive"
_FETCHED = f"{_COPY}, or name its host in the survey's `hosts`: an https address is fetched from those alone"
_SPAN = ("deploymentStart", "deploymentEnd")
USED = {
    "deployments": ("locationID", "latitude", "longitude", "deploymentStart", "deploymentEnd", "timestampIssues"),
    "media": ("fileMediatype",),
    "observations": ("observationID", "mediaID", "eventID", "eventStart", "eventEnd", "cameraSetupType",
                     "scientificName", "count", "lifeStage", "sex", "behavior", "bboxX", "bboxY", "bboxWidth",
                     "bboxHeight", "classificationMethod", "classificationProbability"),
}  # fmt: skip
"""What else is read of them: no name of a person, no comment."""


def check_profile(package: dict[str, Any], name: str) -> None:
    profile = str(package.get("profile"))
    if not re.search(r"/1\.0(\.\d+)?/camtrap-dp-profile\.json$", profile):
        raise DataRefused(f"{name}: profile {profile!r:.120} is not Camtrap DP 1.0.x, the only version read")


def descriptor_key(package: str) -> str:
    """The key of the descriptor; of a package that is a zip, at the top of it."""
    folder = zip_folder(package)
    return package if folder == package else f"{folder}/datapackage.json"


def read_resource(store: Store, descriptor: str, package: dict[str, Any], name: str, refused: Refused) -> pa.Table:
    """One of the three tables with the columns that are used of it."""
    return columns_of(resource_table(store, descriptor, package, name, refused), NEEDED[name] + USED[name])


def resource_table(store: Store, descriptor: str, package: dict[str, Any], name: str, refused: Refused) -> pa.Table:
    """One of the three tables, all its columns as text, from the file or files its resource names."""
    resources = _mappings(package, "resources")
    resource = next((entry for entry in resources if entry.get("name") == name), None)
    if resource is None or not resource.get("path"):
        raise DataRefused(f"{store.url}/{descriptor}: it names no file for the resource {name!r}")
    paths = resource["path"] if isinstance(resource["path"], list) else [resource["path"]]
    dialect = resource["dialect"] if isinstance(resource.get("dialect"), dict) else {}
    encoding, delimiter = str(resource.get("encoding", "utf-8")), str(dialect.get("delimiter", ","))
    keys = [_table_key(store, descriptor, name, path) for path in paths]
    tables = [read_table(store, key, refused, encoding, delimiter, NEEDED[name]) for key in keys]
    return pa.concat_tables(tables, promote_options="default")


def _mappings(package: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list of the descriptor; what is no list or no object is left out."""
    entries = package.get(name)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _table_key(store: Store, descriptor: str, name: str, path: object) -> str:
    try:
        key = archive_key(path, descriptor.rpartition("/")[0], store.hosts)
    except BadPath as fault:
        told = _FETCHED if fault.reason == "remote_url" else _COPY if fault.reason == "foreign_url" else fault.reason
        raise DataRefused(f"{store.url}/{descriptor}: the {name} table at {path!r:.80} is not read ({told})") from None
    if not key.lower().endswith(ENDINGS):
        raise DataRefused(f"{store.url}/{key}: only {', '.join(ENDINGS)} tables are read")
    return key


def licence(package: dict[str, Any]) -> str | None:
    """What the package states for its media."""
    stated = [entry for entry in _mappings(package, "licenses") if entry.get("scope") == "media"]
    return next((text(entry.get("name")) or text(entry.get("path")) for entry in stated), None)


def read_deployments(table: pa.Table, refused: Refused) -> dict[str, Deployment]:
    """By deploymentID. The place is the locationID, else the rounded coordinates."""
    found: dict[str, Deployment] = {}
    for row in iterate(table):
        identity = text(row["deploymentID"])
        if identity is None or identity in found:
            refused.add("no_id" if identity is None else "duplicate_deployment", f"deployment {identity}")
            continue
        start, end = (read_clock(row[name], refused, about=f"deployment {identity}") for name in _SPAN)
        place = text(row["locationID"]) or coordinates(row)
        found[identity] = Deployment(place, start, end, flag(row["timestampIssues"]))
    return found


def read_taxa(package: dict[str, Any]) -> dict[str, dict[str, str | None]]:
    """scientificName to its columns: rank, higher ranks and vernacular names, from the package's `taxonomic`."""
    taxa: dict[str, dict[str, str | None]] = {}
    for entry in _mappings(package, "taxonomic"):
        if not text(entry.get("scientificName")):
            continue
        name, rank = scientific(text(entry["scientificName"]))
        rank = (text(entry.get("taxonRank")) or rank or "").lower() or None
        lineage = {higher: value for higher in RANKS if (value := text(entry.get(higher))) and higher != rank}
        stated = entry["vernacularNames"] if isinstance(entry.get("vernacularNames"), dict) else {}
        names = {code: called for code, vernacular in stated.items() if (called := text(vernacular))}
        taxa[str(text(entry["scientificName"]))] = {
            "taxon": name,
            "rank": rank,
            "lineage": json.dumps(lineage, ensure_ascii=False) if lineage else None,
            "names": json.dumps(names, ensure_ascii=False) if names else None,
        }
    return taxa
