"""Names made from content: canonical JSON, hashes, and shares of the unit interval."""

import hashlib
import json
from typing import Any

from xmodal.settings import Settings


def canonical(document: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal documents give equal bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def digest(*parts: Any) -> str:
    """64 hex digits of the canonical JSON of `parts`."""
    return hashlib.sha256(canonical(parts)).hexdigest()


def share(seed: int, *keys: str) -> float:
    """A number in [0, 1) that depends on seed and keys alone."""
    return int(digest(seed, *keys)[:13], 16) / 16**13


def settings_digest(settings: Settings) -> list[Any]:
    """What of `settings` enters a digest: schema version and the values that differ from the defaults."""
    return [type(settings).schema_version, settings.model_dump(mode="json", exclude_defaults=True)]
