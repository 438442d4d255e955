"""The species that records name."""

import json
from collections.abc import Sequence
from typing import Any


def species_facts(documents: Sequence[str | bytes]) -> dict[str, dict[str, Any]]:
    """Species to its taxon fact, of `facts` documents; taxa of other ranks are left out."""
    taxa: dict[str, dict[str, Any]] = {}
    for document in dict.fromkeys(documents):
        taxon = json.loads(document).get("taxon")
        if taxon and taxon["rank"] == "species":
            taxa.setdefault(taxon["value"], taxon)
    return taxa
