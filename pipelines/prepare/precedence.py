"""Which observation of a frame wins over which: one table.

Of the rows of a frame those of the highest standing count, all others are silent. `docs/formats.md` shows the table to
users; a test compares the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.sources.labels import SILENT

Observation = dict[str, Any]
TYPES = ("animal", "human", "vehicle", "blank")
"""Of rows of one standing the first of these types is the frame's: an animal that one saw is there, whoever missed
it."""


@dataclass(frozen=True)
class Standing:
    """One line of the table: who says it, of what (media | event; null = either), and whether SILENT types count:
    they never win, but for a correction, which takes back what others said."""

    who: str
    level: str | None
    silences: bool
    meaning: str


PRECEDENCE = (
    Standing("correction", None, True, "a row of a corrections overlay, whatever its type"),
    Standing("people", "media", False, "a label that people, or nobody named, gave the frame"),
    Standing("people", "event", False, "a label that people, or nobody named, gave the frame's event"),
    Standing("machine", None, False, "a label that the archive says a machine gave"),
    Standing("speciesnet", None, False, "a label of a SpeciesNet overlay"),
    Standing("classifier", None, False, "a class that a MegaDetector overlay's file gives a box"),
)
"""From the highest to the lowest. Boxes of detectors stand nowhere: they never name a species or make a frame blank.

SpeciesNet stands above the classes of a MegaDetector file: it stops at the rank that it is sure of, and names the
taxon. Such a class is the likeliest of any classifier's list, however unlikely, and often a common name alone."""


def who(row: Observation) -> str:
    """Whose word an observation is; an archive that does not say who labelled is taken to have been labelled by
    people."""
    overlays = {"corrections": "correction", "speciesnet": "speciesnet", "megadetector_classifier": "classifier"}
    return overlays.get(row["origin"]) or ("machine" if row["method"] == "machine" else "people")


def winning(rows: Sequence[Observation]) -> list[Observation]:
    """The rows of the highest standing, none of them SILENT."""
    for standing in PRECEDENCE:
        own = [row for row in rows if who(row) == standing.who and standing.level in (None, row["level"])]
        said = [row for row in own if row["type"] not in SILENT]
        if said or (own and standing.silences):
            return said
    return []


def kind(rows: Sequence[Observation]) -> str | None:
    """The type of a frame by its winning rows: the first of TYPES that one of them has."""
    kinds = {row["type"] for row in rows}
    return next((name for name in TYPES if name in kinds), None)
