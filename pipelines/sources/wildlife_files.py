"""Where the copy of a Wildlife Insights image lies: a path made of fields of its row."""

import re
import string
from typing import Any

from pipelines.sources.reading import BadPath
from pipelines.sources.rows import text

FIELDS = ("path", "name", "upload", "image_id", "filename", "deployment_id", "project_id", "placename")
_TELLING = {"path", "name", "image_id", "filename"}
"""Fields that tell one image from another."""


def check_template(file: str) -> None:
    """Raises ValueError for a field not in FIELDS, for a format or conversion, and where no field tells an image."""
    parts = list(string.Formatter().parse(file))
    named = {name for _, name, _, _ in parts if name is not None}
    if unknown := sorted(named - set(FIELDS)):
        raise ValueError(f"no field {{{unknown[0]}}}; there are {', '.join(f'{{{name}}}' for name in FIELDS)}")
    if not named & _TELLING or any(form or conversion for _, _, form, conversion in parts):
        raise ValueError("it needs one of {path}, {name}, {image_id}, {filename}, and no format or conversion")


def path_of(file: str, row: dict[str, Any], placename: str | None) -> str:
    """`file` filled in from a row. Raises BadPath, no_path, where the row lacks one of its fields."""
    fields = {name: text(row[name]) for name in ("image_id", "filename", "deployment_id", "project_id")}
    fields |= {"placename": placename} | _address(text(row["location"]))
    if any(not fields[name] for _, name, _, _ in string.Formatter().parse(file) if name is not None):
        raise BadPath("no_path")
    return file.format_map(fields)


def _address(location: str | None) -> dict[str, str | None]:
    """Path and name below the bucket of a gs:// address, and the number of the upload, which stands after
    `deployment/`."""
    stated = re.fullmatch(r"gs://[^/]+/(.+)", location or "")
    path = stated[1] if stated else None
    upload = re.search(r"(?:^|/)deployment/(\d+)", path or "")
    return {"path": path, "name": path and path.rpartition("/")[2], "upload": upload and upload[1]}
