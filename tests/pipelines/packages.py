"""A Camtrap DP package held against the standard's own profile and table schemas, by frictionless, offline."""

import gzip
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import frictionless
import jsonschema

STANDARD = Path(__file__).parent / "camtrap_dp_1.0.2"
ADDRESS = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"
TABLES = ("deployments", "media", "observations")


def published(name: str) -> dict[str, Any]:
    return json.loads(gzip.decompress((STANDARD / f"{name}.json.gz").read_bytes()))


def faults(descriptor: Path) -> list[str]:
    """What is wrong with a package: by the profile, by frictionless' own rules for descriptors, and in every cell and
    key of the tables. Its addresses must be those of the release; what stands there is read from the test data."""
    document = json.loads(descriptor.read_text(encoding="utf-8"))
    found = [error.message for error in _profile().iter_errors(document)]
    if document["profile"] != f"{ADDRESS}/camtrap-dp-profile.json":
        found.append(f"profile {document['profile']}")
    for resource in document["resources"]:
        if resource["name"] in TABLES:
            if resource["schema"] != f"{ADDRESS}/{resource['name']}-table-schema.json":
                found.append(f"schema {resource['schema']}")
            resource["schema"] = published(f"{resource['name']}-table-schema")
    local = {name: value for name, value in document.items() if name != "profile"}
    package = frictionless.Package.from_descriptor(local, basepath=str(descriptor.parent))
    report = package.validate()
    tables = {task.name: task.stats.get("rows") for task in report.tasks}
    assert all(tables[name] for name in TABLES), f"an empty table proves nothing: {tables}"
    return [*found, *(str(one) for one in report.flatten(["name", "rowNumber", "fieldName", "message"]))]


def _profile() -> jsonschema.Draft4Validator:
    """With GeoJSON's schema, which frictionless brings; the rules for any package are frictionless' own."""
    profile = published("camtrap-dp-profile")
    general, own = profile["allOf"]
    assert general == {"$ref": "https://specs.frictionlessdata.io/schemas/data-package.json"}
    profile["allOf"] = [own]
    geojson = json.loads((files("frictionless") / "assets/profiles/geojson.json").read_text())
    (spatial := own["properties"]["spatial"]).pop("$ref")
    spatial["allOf"] = [geojson]
    return jsonschema.Draft4Validator(profile, format_checker=jsonschema.FormatChecker())
