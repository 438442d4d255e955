"""What COCO-shaped JSON files share beyond images, categories and annotations (https://cocodataset.org/#format-data)."""

from collections.abc import Mapping
from typing import Any

from pipelines.sources.rows import text


def licences(document: Mapping[str, Any]) -> dict[str, str]:
    """Licence id to its name, else its address, of the top-level `licenses`."""
    listed = document.get("licenses")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    named = {text(entry.get("id")): text(entry.get("name")) or text(entry.get("url")) for entry in entries}
    return {identity: name for identity, name in named.items() if identity and name}


def licence(image: Mapping[str, Any], known: Mapping[str, str]) -> str | None:
    """An image's licence: what its id stands for, else what it states itself."""
    stated = text(image.get("license"))
    return known.get(stated or "", stated)
