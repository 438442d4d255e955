"""What a row of Wildlife Insights says of its image or sequence, as columns of OBSERVATIONS.

The lowest filled column of class, order, family, genus, species is the rank: a family label is a family, whatever its
common name. `is_blank` can contradict the name; then the name counts, since a person chose it, and hiding an animal as
blank would teach that empty frames look like it. `uncertainty` is free text ("Don't know" throughout real projects)
and is not read; the identifier's name only tells people from machines.
"""

import json
import re
from typing import Any

from pipelines.sources.labels import observation_type, taxon
from pipelines.sources.rows import flag, individuals, number, text
from pipelines.sources.schema import Refused

_HIGHER = ("class", "order", "family", "genus")
LABEL_COLUMNS = ("is_blank", "identified_by", *_HIGHER, "species", "common_name", "number_of_objects", "group_size",
                 "age", "sex", "behavior", "cv_confidence")  # fmt: skip
_MACHINE = re.compile(r"computer vision|speciesnet", re.IGNORECASE)
_RANK_NAME = re.compile(r".+ (class|order|family|genus|species)", re.IGNORECASE)
"""Names made of a taxon and its rank ("Cracidae Family", "Puma Species"): nobody calls an animal that."""
_UNKNOWN = {"unknown", "undetermined", "not applicable", "n/a"}


def shown(row: dict[str, Any]) -> str:
    """The type of what a row says, alone."""
    return _kind(text(row["common_name"]), _ranks(row), flag(row["is_blank"]))


def label_columns(row: dict[str, Any], refused: Refused, example: str) -> dict[str, Any]:
    """Counts blank_disagreement, where is_blank and the name contradict each other, species_without_genus and
    bad_count."""
    name, ranks, blank = text(row["common_name"]), _ranks(row), flag(row["is_blank"])
    kind = _kind(name, ranks, blank)
    if (kind == "blank" and blank is False) or (kind in ("animal", "human", "vehicle") and blank):
        refused.add("blank_disagreement", f"{example}: is_blank {row['is_blank']}, {name or ranks}")
    if text(row["species"]) and "genus" not in ranks and kind == "animal":
        refused.add("species_without_genus", f"{example}: {row['species']}")
    confidence, stated = number(row["cv_confidence"]), row["number_of_objects"] or row["group_size"]
    said: dict[str, Any] = {
        "type": kind,
        "label": name or next(reversed(ranks.values()), kind),
        "count": individuals(stated, kind, refused, example),
        "life_stage": _known(row["age"]),
        "sex": _known(row["sex"]),
        "behavior": text(row["behavior"]),
        "confidence": confidence / 100 if confidence is not None and confidence > 1 else confidence,
        "method": _method(text(row["identified_by"])),
        "origin": "wildlife_insights",
    }
    return said | (_taxon(name, ranks) if kind == "animal" else {})


def _ranks(row: dict[str, Any]) -> dict[str, str]:
    """Rank to name from the class down, without what stands there for "not known"; open nomenclature (`Canis sp.`)
    leaves the genus."""
    named = {rank: value.capitalize() for rank in _HIGHER if (value := text(row[rank])) and _is_name(value)}
    epithet = text(row["species"])
    if "genus" in named and epithet and _is_name(epithet):
        name, rank = taxon(f"{named['genus']} {epithet.lower()}")
        named |= {rank: name} if name and rank in ("species", "subspecies") else {}
    return named


def _is_name(value: str) -> bool:
    return observation_type(value) not in ("blank", "unknown", "unclassified")


def _kind(name: str | None, ranks: dict[str, str], blank: bool | None) -> str:
    """The type that the names tell; without any blank by is_blank, else something that nobody could name."""
    kind = observation_type(name, next(reversed(ranks.values()), None)) if name or ranks else "unknown"
    if ranks and kind in ("unknown", "unclassified"):
        return "animal"
    return "blank" if blank and (kind == "unclassified" or not (name or ranks)) else kind


def _taxon(name: str | None, ranks: dict[str, str]) -> dict[str, str | None]:
    """The name at its true rank, the ranks above it, and the common name where it is one."""
    *higher, own = ranks.items() if ranks else [(None, None)]
    vernacular = name and not _RANK_NAME.fullmatch(name) and name.lower() != (own[1] or "").lower()
    return {
        "taxon": own[1],
        "rank": own[0],
        "lineage": json.dumps(dict(higher), ensure_ascii=False) if higher else None,
        "names": json.dumps({"eng": name}, ensure_ascii=False) if vernacular else None,
    }


def _known(value: object) -> str | None:
    stated = text(value)
    return None if stated is None or stated.lower() in _UNKNOWN else stated.lower()


def _method(identified_by: str | None) -> str | None:
    if identified_by is None:
        return None
    return "machine" if _MACHINE.search(identified_by) else "human"
