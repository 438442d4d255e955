"""What is recorded of a frame before the model is asked, and by whom."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipelines.evaluate.machines import by_machine, name_of
from pipelines.predictions.thresholds import Truth
from pipelines.prepare.attributes import rank_values
from pipelines.prepare.precedence import SILENT
from pipelines.taxa import class_of, species_key

PEOPLE = "people"


@dataclass(frozen=True)
class Label:
    """One word on a frame, and whose it is."""

    said: str
    """Its species, else its taxon, else its kind."""
    by: str
    """PEOPLE, or a machine's name."""
    truth: Truth | None
    """The same as answers are held against it; None where it is no animal's and no empty frame's."""

    @property
    def words(self) -> str:
        return f"{self.by} {'say' if self.by == PEOPLE else 'says'} {self.said}"


@lru_cache(1 << 14)
def label_of(facts: bytes | None) -> Label | None:
    """The label of a frame, of its `facts` in RECORDS."""
    known = json.loads(facts or b"{}")
    if "type" not in known:
        return None
    kind = known["type"]
    by = name_of(kind["source"].partition("/")[0]) if by_machine(known, "type") else PEOPLE
    return Label(class_of(known), by, None if "also" in kind else stated(kind["value"], known.get("taxon")))


@lru_cache(1 << 14)
def verdicts(incumbents: bytes | None) -> tuple[Label, ...]:
    """What machines said of a frame, of its `incumbents` in RECORDS; detectors too, whose word is never a label."""
    told = [one for one in json.loads(incumbents or b"[]") if one["type"] not in SILENT]
    return tuple(Label(one["taxon"] or one["type"], name_of(one["origin"]), _of_machine(one)) for one in told)


def by_people(facts: bytes | None) -> bool:
    """Whether people have labelled a frame."""
    label = label_of(facts)
    return label is not None and label.by == PEOPLE


def stated(kind: str, taxon: Mapping[str, Any] | None) -> Truth | None:
    """A kind and a taxon fact as answers are held against them; None for people and vehicles."""
    if kind not in ("animal", "blank"):
        return None
    key = species_key(dict(taxon)) if taxon else None
    return Truth(kind, (rank_values(taxon) if taxon else {}) | ({"species": key} if key else {}))


def _of_machine(one: Mapping[str, Any]) -> Truth | None:
    kind = one["type"]
    return Truth(kind, dict(one["lineage"])) if kind in ("animal", "blank") else None
