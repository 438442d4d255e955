"""SpeciesNet's class strings: `uuid;class;order;family;genus;species;common name`, in small letters, rolled up by
leaving parts empty (speciesnet 5.0.6, `constants.py` and `taxonomy_utils.py`)."""

from collections.abc import Sequence
from functools import lru_cache

from pipelines.sources.labels import observation_type
from pipelines.sources.machine_classes import MachineClass

SPECIAL = {
    "f1856211-cfb7-4a5b-9158-c0f72fd09ee6": "blank",
    "1f689929-883d-4dae-958c-3d57ab5b6c16": "animal",
    "990ae9dd-7a59-4344-afcb-1b7b21368000": "human",
    "e2895ed5-780b-48f6-8a11-9e27cb594511": "vehicle",
    "f2efdae9-efb8-48fb-8a91-eccf79ab4ffb": "unknown",
}
"""The classes that are no taxon, by uuid."""
RANKS = ("class", "order", "family", "genus", "species")


def read_class(written: object) -> MachineClass | None:
    """Null for what is no class string."""
    return _read(written) if isinstance(written, str) else None


@lru_cache(4096)
def _read(written: str) -> MachineClass | None:
    parts = [part.strip() for part in written.split(";")]
    if len(parts) != 7:
        return None
    uuid, *ranks, common = parts
    taxa = _taxa(ranks)
    kind = SPECIAL.get(uuid.lower()) or observation_type(next(reversed(taxa.values()), common))
    if kind != "animal":
        return MachineClass(kind, common or kind, {}, None)
    named = common and common.lower() != "animal" and not _is_rank(common, taxa)
    return MachineClass(kind, common or next(reversed(taxa.values()), kind), taxa, common if named else None)


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
