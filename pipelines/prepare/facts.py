"""Typed facts of one medium, each with its source, from the observations that name it.

What several observations of a frame disagree on is not a fact of the frame: two species leave their lowest shared rank.
Counts come from labels of the frame, never from labels of its event; one over several taxa is marked `mixed`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.prepare.clocks import daylight
from pipelines.prepare.event_labels import reaching
from pipelines.prepare.precedence import Observation, kind, winning
from pipelines.sources.labels import RANKS

FACTS_VERSION = 2
"""Raised when the same observations give other facts."""

NOT_KNOWN = ("unknown", "unk", "undetermined", "undefined", "not known", "none", "na", "n/a")
"""Words that archives write where an age, a sex or a behaviour is not known."""


@dataclass(frozen=True)
class Medium:
    """What a survey's metadata say of one file: a row of MEDIA, its OBSERVATIONS, its DETECTIONS row."""

    media: dict[str, Any] | None
    observations: list[Observation]
    detection: dict[str, Any] | None

    @property
    def captions(self) -> list[tuple[str, str]]:
        """Texts that the archive itself brings, and their languages (ISO 639-3); what states none is English."""
        own = [row for row in self.observations if row["caption"] is not None]
        return [(row["caption"], row.get("language") or "eng") for row in own]


def facts(
    medium: Medium, infrared: bool, clock_trusted: bool, threshold: float, undetected: bool = False
) -> dict[str, dict[str, Any]]:
    """Facts by name; `infrared` was measured from the pixels. Only what is known is in it. `undetected`: whether labels
    of events reach frames that no detector ran on."""
    found: dict[str, dict[str, Any]] = {"infrared": {"value": infrared, "source": "pixels"}}
    rows = labels(medium, threshold, undetected)
    if (name := kind(rows)) is not None:
        own = [row for row in rows if row["type"] == name]
        also = sorted({row["type"] for row in rows} & {"human", "vehicle"} - {name})
        found["type"] = {"value": name, "source": sources(own)} | ({"also": also} if also else {})
        found |= animal_facts(own) if name == "animal" else {}
    light = daylight(medium.media["captured_at"]) if medium.media and clock_trusted else None
    return found | ({"daylight": {"value": light, "source": "clock"}} if light else {})


def labels(medium: Medium, threshold: float, undetected: bool = False) -> list[Observation]:
    """Observations that classify the frame: of those that reach it the ones that win."""
    rows = [row for row in medium.observations if row["caption"] is None]
    return winning(reaching(rows, medium.detection, threshold, undetected))


def animal_facts(rows: Sequence[Observation]) -> dict[str, dict[str, Any]]:
    """Facts of the animals in a frame."""
    found = {"taxon": taxon_fact(rows), "count": _count(rows)}
    found |= {name: _agreed(rows, name, str.lower) for name in ("life_stage", "sex")}
    found["behavior"] = _agreed(rows, "behavior", str.lower)
    ladders = {row["taxon"]: row["rank"] for row in rows if row["taxon"]}
    if len(ladders) > 1:
        found["taxa"] = {"value": [{"taxon": name, "rank": ladders[name]} for name in sorted(ladders)]}
    return {name: fact | {"source": sources(rows)} for name, fact in found.items() if fact is not None}


def taxon_fact(rows: Sequence[Observation]) -> dict[str, Any] | None:
    """{"value": name, "rank", "lineage": {rank: name} of the higher ranks, "names": {language: name}}.

    `value` is null where no scientific name is known and the archive only has names.
    """
    shared = lineage(rows[0])
    for row in rows[1:]:
        other = lineage(row)
        shared = {rank: name for rank, name in shared.items() if other.get(rank) == name}
    names = _parsed(rows[0]["names"])
    for row in rows[1:]:
        names = dict(names.items() & _parsed(row["names"]).items())
    same = all(row["taxon"] == rows[0]["taxon"] for row in rows)
    own = (rows[0]["taxon"], rows[0]["rank"]) if same else _lowest(shared)
    if own[0] is None and not names:
        return None
    higher = {rank: name for rank, name in shared.items() if rank != own[1]}
    return {"value": own[0], "rank": own[1], "lineage": higher, "names": dict(sorted(names.items()))}


def lineage(row: Observation) -> dict[str, str]:
    """Rank to name, from the highest down to the taxon's own; a binomial tells its genus, a trinomial its species."""
    stated = {rank: name for rank, name in _parsed(row["lineage"]).items() if rank in RANKS}
    taxon, rank = row["taxon"], row["rank"]
    if taxon and rank in RANKS:
        words = taxon.split()
        told = {"genus": words[0]} if rank in ("species", "subspecies") and len(words) > 1 else {}
        told |= {"species": " ".join(words[:2])} if rank == "subspecies" and len(words) > 2 else {}
        stated = told | stated | {rank: taxon}
    lowest = RANKS.index(rank) if rank in RANKS else len(RANKS)
    return {name: stated[name] for name in RANKS[: lowest + 1] if name in stated}


def _lowest(shared: dict[str, str]) -> tuple[str | None, str | None]:
    """The lowest rank that all taxa of a frame share."""
    rank = next((rank for rank in reversed(RANKS) if rank in shared), None)
    return (shared[rank], rank) if rank else (None, None)


def _count(rows: Sequence[Observation]) -> dict[str, Any] | None:
    counted = [row for row in rows if row["level"] == "media"]
    if len(counted) < len(rows) or any(row["count"] is None for row in rows):
        return None
    mixed = len({row["taxon"] or row["names"] for row in rows}) > 1
    return {"value": sum(row["count"] for row in rows)} | ({"mixed": True} if mixed else {})


def _agreed(rows: Sequence[Observation], column: str, clean: Callable[[str], str]) -> dict[str, Any] | None:
    values = {clean(row[column]).strip() if row[column] else None for row in rows}
    value = values.pop()
    return {"value": value} if not values and value and "|" not in value and value not in NOT_KNOWN else None


def _parsed(text: str | None) -> dict[str, str]:
    return json.loads(text) if text else {}


def sources(rows: Sequence[Observation]) -> str:
    """Where a fact comes from: the sources and overlays that say so, and whether people or machines did."""
    return ", ".join(
        sorted({f"{row['origin']}/{row['method']}" if row["method"] else str(row["origin"]) for row in rows})
    )
