"""What machines said of frames before, as RECORDS' column `incumbents` has it (`pipelines.prepare.incumbents`)."""

from collections.abc import Sequence
from typing import Any

from pipelines.prepare.incumbents import DETECTOR

NAMES = {
    "speciesnet": "SpeciesNet",
    DETECTOR: "MegaDetector",
    "megadetector_classifier": "The classifier of MegaDetector's boxes",
}
Entry = dict[str, Any]


def name_of(origin: str) -> str:
    """What a reader calls it."""
    return NAMES.get(origin, f"Machine labels of the archive ({origin})")


def surest(said: Sequence[Entry], origin: str) -> Entry | None:
    """The one answer of a machine to a frame: its most confident entry, the first of equals."""
    own = [one for one in said if one["origin"] == origin]
    return max(own, key=lambda one: one["confidence"] or 0) if own else None


def by_machine(facts: dict[str, Any], name: str) -> bool:
    """Whether a recorded fact is a machine's word: it would find that machine right by definition."""
    return "/machine" in facts[name]["source"]
