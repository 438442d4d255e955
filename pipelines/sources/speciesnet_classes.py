"""SpeciesNet's class strings: `uuid;class;order;family;genus;species;common name`, in small letters, rolled up by
leaving parts empty (speciesnet 5.0.6, `constants.py` and `taxonomy_utils.py`)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from pipelines.sources.labels import observation_type

SPECIAL = {
    "f1856211-cfb7-4a5b-9158-c0f72fd09ee6": "blank",
    "1f689929-883d-4dae-958c-3d57ab5b6c16": "animal",
    "990ae9dd-7a59-4344-afcb-1b7b21368000": "human",
    "e2895ed5-780b-48f6-8a11-9e27cb594511": "vehicle",
    "f2efdae9-efb8-48fb-8a91-eccf79ab4ffb": "unknown",
}
"""The classes that are no taxon, by uuid."""
RANKS = ("class", "order", "family", "genus", "species")


@dataclass(frozen=True)
class SpeciesNetClass:
    """What a class string says. `taxa`: rank to scientific name from the class down to the taxon's own."""

    type: str
    label: str
    taxa: dict[str, str]
    common: str | None

    @cached_property
    def columns(self) -> dict[str, str | None]:
        """Columns of OBSERVATIONS."""
        found: dict[str, str | None] = {"type": self.type, "label": self.label}
        if self.taxa:
            rank = next(reversed(self.taxa))
            higher = {name: taxon for name, taxon in self.taxa.items() if name != rank}
            found |= {"taxon": self.taxa[rank], "rank": rank, "lineage": json.dumps(higher) if higher else None}
        names = {"eng": self.common} if self.common else {}
        return found | {"names": json.dumps(names, ensure_ascii=False) if names else None}

    def holds(self, other: "SpeciesNetClass") -> bool:
        """Whether `other` is the same class or one below this one."""
        return self.type == other.type and self.taxa.items() <= other.taxa.items()


def read_class(written: object) -> SpeciesNetClass | None:
    """Null for what is no class string."""
    return _read(written) if isinstance(written, str) else None


@lru_cache(4096)
def _read(written: str) -> SpeciesNetClass | None:
    parts = [part.strip() for part in written.split(";")]
    if len(parts) != 7:
        return None
    uuid, *ranks, common = parts
    taxa = _taxa(ranks)
    kind = SPECIAL.get(uuid.lower()) or observation_type(next(reversed(taxa.values()), common))
    if kind != "animal":
        return SpeciesNetClass(kind, common or kind, {}, None)
    named = common and common.lower() != "animal" and not _is_rank(common, taxa)
    return SpeciesNetClass(kind, common or next(reversed(taxa.values()), kind), taxa, common if named else None)


def _taxa(ranks: Sequence[str]) -> dict[str, str]:
    """Written as taxonomists do; two words in the species' place are a species and its subspecies."""
    taxa = {rank: name.capitalize() for rank, name in zip(RANKS[:4], ranks, strict=False) if name}
    words = ranks[4].lower().split()
    if words and "genus" in taxa:
        taxa["species"] = f"{taxa['genus']} {words[0]}"
        taxa |= {"subspecies": f"{taxa['species']} {words[1]}"} if len(words) > 1 else {}
    return taxa


def _is_rank(common: str, taxa: dict[str, str]) -> bool:
    """Whether a common name only repeats the taxon: `canidae family`, `lepus species`."""
    first = common.lower().split()[0]
    return first in {name.lower() for name in taxa.values()} and common.lower().split()[1:] in (
        [], ["class"], ["order"], ["family"], ["genus"], ["species"],
    )  # fmt: skip
