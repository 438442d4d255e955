"""What a classifier says of MegaDetector's boxes: a detection's `classifications`, [[category id, score], ...].

Sorted or not, the surest one counts. `classification_categories` name the ids in free text ("fox", "Vulpes vulpes",
"blank", "human"); where a writer adds `classification_category_descriptions`, SpeciesNet's class strings, they say the
taxon. Source: github.com/agentmorris/MegaDetector, megadetector-output-format.md and wi_taxonomy_utils.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.errors import DataRefused
from pipelines.sources.detector import share
from pipelines.sources.labels import BAD, observation_type, taxon
from pipelines.sources.machine_classes import MachineClass, Scored, score
from pipelines.sources.rows import text
from pipelines.sources.schema import PEOPLE, Refused
from pipelines.sources.speciesnet_classes import read_class

Names = Literal["scientific", "common"]
"""What a name is that may be both by its form: `Vulpes vulpes`, `Red fox`."""


@dataclass(frozen=True)
class ClassReader:
    """Reads the classes of a results file. `where`: the file, for messages."""

    where: str
    names: Mapping[str, Any]
    descriptions: Mapping[str, Any]
    are: Names | None
    _read: dict[str, MachineClass | None] = field(default_factory=dict)

    def surest(self, detection: dict[str, Any], key: str = "", refused: Refused | None = None) -> Scored | None:
        """The surest class of a box; a person without a readable score is sure. Counts bad_class and bad_confidence,
        and raises DataRefused for a name that only the setting `names` could tell."""
        written = detection.get("classifications")
        pairs = written if isinstance(written, list) else [] if written is None else [written]
        found = [self._scored(pair, key, refused or Refused()) for pair in pairs]
        return max((one for one in found if one is not None), key=_sure, default=None)

    def _scored(self, pair: object, key: str, refused: Refused) -> Scored | None:
        identity, written = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        found, confidence = self._class(text(identity) or ""), share(written)
        if found is None or confidence is None:
            refused.add("bad_class" if found is None else "bad_confidence", f"{key}: {pair!s:.80}")
        return (found, confidence) if found and (confidence is not None or found.type in PEOPLE) else None

    def _class(self, identity: str) -> MachineClass | None:
        if identity not in self._read:
            label = text(self.names.get(identity))
            usable = label is not None and label.lower() not in BAD
            self._read[identity] = self._named(label, self.descriptions.get(identity)) if label and usable else None
        return self._read[identity]

    def _named(self, label: str, description: object) -> MachineClass:
        """A person by the name is one, whatever the description."""
        kind, described = observation_type(label), read_class(description)
        if described is not None and kind not in PEOPLE:
            return described
        name = " ".join(label.replace("_", " ").split())
        if kind != "animal" or name.lower() == "animal":
            return MachineClass(kind, label, {}, None)
        taxa = self._taxa(name, label)
        return MachineClass(kind, label, taxa, None if taxa else name)

    def _taxa(self, name: str, label: str) -> dict[str, str]:
        """Rank to scientific name; empty for a common name."""
        written, rank = taxon(name)
        if rank in ("genus", "species", "subspecies") and self.are is None:
            raise DataRefused(f"{self.where}: the class {label!r} may be a scientific or a common name; "
                              "set `names` of this overlay to scientific or common")  # fmt: skip
        if written is None or rank is None or self.are == "common":
            return {}
        genus = {"genus": written.split()[0]} if rank in ("species", "subspecies") else {}
        return genus | {rank: written}


def _sure(scored: Scored) -> float:
    return 2 if scored[1] is None else score(scored)


def class_reader(where: str, document: dict[str, Any], are: Names | None) -> ClassReader:
    """Of a results file; one without classes has no names."""
    tables = [document.get(name) for name in ("classification_categories", "classification_category_descriptions")]
    names, descriptions = (table if isinstance(table, dict) else {} for table in tables)
    return ClassReader(where, names, descriptions, are)
