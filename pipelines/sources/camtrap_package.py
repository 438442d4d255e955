"""A Camtrap DP package's descriptor and its three tables: profile, resources, places, licence, taxa."""

import json
import re
from typing import Any

import pyarrow as pa

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.labels import RANKS, taxon
from pipelines.sources.reading import BadPath, archive_key, iterate, read_csv
from pipelines.sources.rows import number, text
from pipelines.sources.schema import Refused

NEEDED = {
    "deployments": ("deploymentID",),
    "media": ("mediaID", "deploymentID", "timestamp", "filePath", "filePublic"),
    "observations": ("deploymentID", "observationLevel", "observationType"),
}
"""The tables, and the columns without which they say nothing."""


def check_profile(package: dict[str, Any], name: str) -> None:
    profile = str(package.get("profile"))
    if not re.search(r"/1\.0(\.\d+)?/camtrap-dp-profile\.json$", profile):
        raise DataRefused(f"{name}: profile {profile!r:.120} is not Camtrap DP 1.0.x, the only version read")


def read_table(store: Store, descriptor: str, package: dict[str, Any], name: str) -> pa.Table:
    """One of the three tables, from the CSV file or files its resource names."""
    resources = _mappings(package, "resources")
    resource = next((entry for entry in resources if entry.get("name") == name), None)
    if resource is None or not resource.get("path"):
        raise DataRefused(f"{store.url}/{descriptor}: it names no file for the resource {name!r}")
    paths = resource["path"] if isinstance(resource["path"], list) else [resource["path"]]
    dialect = resource["dialect"] if isinstance(resource.get("dialect"), dict) else {}
    encoding, delimiter = str(resource.get("encoding", "utf-8")), str(dialect.get("delimiter", ","))
    tables = []
    for path in paths:
        key = _table_key(store, descriptor, name, path)
        table = read_csv(store, key, encoding, delimiter)
        if absent := [column for column in NEEDED[name] if column not in table.column_names]:
            raise DataRefused(f"{store.url}/{key}: the {name} table lacks the column {absent[0]!r}")
        tables.append(table)
    return pa.concat_tables(tables, promote_options="default")


def _mappings(package: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list of the descriptor; what is no list or no object is left out."""
    entries = package.get(name)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _table_key(store: Store, descriptor: str, name: str, path: object) -> str:
    try:
        key = archive_key(path, descriptor.rpartition("/")[0], store.hosts)
    except BadPath as fault:
        raise DataRefused(f"{store.url}/{descriptor}: the {name} table at {path!r:.80} is not read ({fault})") from None
    if not key.endswith((".csv", ".csv.gz")):
        raise DataRefused(f"{store.url}/{key}: only .csv and .csv.gz tables are read")
    return key


def licence(package: dict[str, Any]) -> str | None:
    """What the package states for its media."""
    stated = [entry for entry in _mappings(package, "licenses") if entry.get("scope") == "media"]
    return next((text(entry.get("name")) or text(entry.get("path")) for entry in stated), None)


def read_places(deployments: pa.Table, refused: Refused) -> dict[str, str | None]:
    """deploymentID to place: the locationID, else the coordinates to three digits (some 100 m)."""
    places: dict[str, str | None] = {}
    for row in iterate(deployments):
        identity = text(row["deploymentID"])
        if identity is None or identity in places:
            refused.add("no_id" if identity is None else "duplicate_deployment", f"deployment {identity}")
            continue
        latitude, longitude = number(row.get("latitude")), number(row.get("longitude"))
        rounded = None if latitude is None or longitude is None else f"{latitude:.3f},{longitude:.3f}"
        places[identity] = text(row.get("locationID")) or rounded
    return places


def read_taxa(package: dict[str, Any]) -> dict[str, dict[str, str | None]]:
    """scientificName to its columns: rank, higher ranks and vernacular names, from the package's `taxonomic`."""
    taxa: dict[str, dict[str, str | None]] = {}
    for entry in _mappings(package, "taxonomic"):
        if not text(entry.get("scientificName")):
            continue
        name, rank = taxon(text(entry["scientificName"]))
        rank = text(entry.get("taxonRank")) or rank
        lineage = {higher: entry[higher] for higher in RANKS if text(entry.get(higher)) and higher != rank}
        stated = entry["vernacularNames"] if isinstance(entry.get("vernacularNames"), dict) else {}
        names = {code: vernacular for code, vernacular in stated.items() if text(vernacular)}
        taxa[str(text(entry["scientificName"]))] = {
            "taxon": name,
            "rank": rank,
            "lineage": json.dumps(lineage, ensure_ascii=False) if lineage else None,
            "names": json.dumps(names, ensure_ascii=False) if names else None,
        }
    return taxa
