"""Frames that people have labelled, as they go into a package of their own survey: what people say, not the model."""

import json
from typing import Any

from pipelines.predictions.labels import PEOPLE, label_of

STAGES, SEXES = ("adult", "subadult", "juvenile"), ("female", "male")
"""The words that Camtrap DP 1.0.2 has for them."""
Row = dict[str, Any]


def recorded(row: Row) -> Row | None:
    """The row of an answered frame with people's word in place of the model's; None where people have said nothing."""
    label = label_of(row["facts"])
    if label is None or label.by != PEOPLE:
        return None
    document = json.loads(row["facts"])
    facts = {name: one["value"] for name, one in document.items() if "value" in one}
    taxon = document.get("taxon") or {}
    return row | {
        "type": facts["type"],
        "taxon": taxon.get("value"),
        "rank": taxon.get("rank"),
        "common_name": label.said if taxon and taxon["value"] is None else None,
        "confidence": None,
        "reason": "",
        "by_a_person": True,
        "lineage": taxon.get("lineage", {}),
        "count": facts.get("count"),
        "life_stage": facts.get("life_stage") if facts.get("life_stage") in STAGES else None,
        "sex": facts.get("sex") if facts.get("sex") in SEXES else None,
        "behavior": facts.get("behavior"),
    }
