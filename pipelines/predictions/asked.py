"""Which frames are worth a person's look, why, and how much.

A frame is asked where its answer is not sure enough and people have not labelled it; where a sure answer contradicts
its label, whoever gave it, or what a machine said of it before; and where a sure answer names a species of fewer than
RARE training images, of which no test tells much. What a look is worth is the sum of four numbers from 0 to 1:

- uncertainty: 1 - how sure it is of its guess: of the surest species, or of blank where that is likelier than not
- disagreement: the confidence of the answer where it contradicts, else 0
- rarity: RARE / (RARE + training images of the surest species), 0 where the frame looks empty
- unseen: 1 at a place that training has not seen, else 0
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.predictions.answers import UNKNOWN
from pipelines.predictions.labels import PEOPLE, Label, label_of, verdicts
from pipelines.predictions.ladder import BLANK, Ladder
from pipelines.predictions.thresholds import right_named
from pipelines.predictions.trust import Trust

RARE = 20
UNSURE, CONTRADICTS, SCARCE = "unsure", "contradicts", "rare"
ASKED = pa.schema(
    [
        ("alike", pa.string()),  # frames of one event that one look settles have the same
        ("survey", pa.string()),
        ("deployment_id", pa.string()),
        ("event_id", pa.string()),
        ("captured_at", pa.string()),
        ("file", pa.string()),
        ("media_id", pa.string()),
        ("shows", pa.float64()),  # how well it shows what is there
        ("guess", pa.string()),  # the surest species, or blank
        ("guess_confidence", pa.float64()),
        ("present_label", pa.string()),
        ("labelled_by", pa.string()),
        ("kind", pa.string()),  # unsure | contradicts | rare
        ("worth", pa.float64()),
        ("why", pa.string()),
    ]
)
COPIED = ("survey", "deployment_id", "event_id", "captured_at", "file", "media_id")
Row = dict[str, Any]


@dataclass(frozen=True)
class Asking:
    """One model's questions."""

    ladder: Ladder
    trained: Mapping[str, int]
    """Training images of each species."""
    seen: frozenset[str]
    """Places of training images."""

    @classmethod
    def of(cls, ladder: Ladder, trust: Trust) -> "Asking":
        return cls(ladder, trust.trained, frozenset(trust.seen))

    def of_frame(self, row: Row) -> Row | None:
        """The ASKED row of an answered frame; None where nobody needs to look at it."""
        label = label_of(row["facts"])
        against = self._contradicted(row, label)
        kind = self._kind(row, label, against)
        if kind is None:
            return None
        guess, confidence = guessed(row)
        shown = against or label
        name = "\0".join([row["survey"], row["event_id"] or f"\0{row['file']}", str(guess == BLANK),
                          *((shown.said, shown.by) if shown else ())])  # fmt: skip
        return {column: row[column] for column in COPIED} | {
            "alike": name,
            "shows": row["species_confidence"] if row["animal_confidence"] is None else row["animal_confidence"],
            "guess": guess,
            "guess_confidence": confidence,
            "present_label": shown.said if shown else None,
            "labelled_by": shown.by if shown else None,
            "kind": kind,
            "worth": self._worth(row, guess, confidence, against),
            "why": "; ".join(self._why(row, guess, against)),
        }

    def strange(self, label: Label | None) -> list[str]:
        """The species of a label, where the model was never trained on it."""
        species = label.truth.steps.get("species") if label and label.truth else None
        return [species] if species is not None and species not in self.ladder.species else []

    def _contradicted(self, row: Row, label: Label | None) -> Label | None:
        """The first word on a frame that its sure answer says is wrong."""
        if row["type"] == UNKNOWN:
            return None
        found, said = row["rank"] or row["type"], row["taxon"] or row["common_name"] or ""
        every = verdicts(row["incumbents"]) if label is None else (label,)
        return next((one for one in every if one.truth and right_named(self.ladder, found, said, one.truth) == 0), None)

    def _kind(self, row: Row, label: Label | None, against: Label | None) -> str | None:
        if against is not None:
            return CONTRADICTS
        if label is not None and label.by == PEOPLE:
            return None
        if row["type"] == UNKNOWN:
            return UNSURE
        return SCARCE if row["rank"] == "species" and self._images(row) < RARE else None

    def _images(self, row: Row) -> int:
        """Training images of the surest species."""
        return self.trained.get(row["species"], 0)

    def _worth(self, row: Row, guess: str, confidence: float, against: Label | None) -> float:
        rarity = 0.0 if guess == BLANK else RARE / (RARE + self._images(row))
        disagreement = row["confidence"] if against else 0.0
        return (1 - confidence) + disagreement + rarity + float(row["place"] not in self.seen)

    def _why(self, row: Row, guess: str, against: Label | None) -> list[str]:
        told = [row["reason"]]
        if against is not None:
            told.append(f"but {against.words}{', which it was never trained on' if self.strange(against) else ''}")
        if guess != BLANK and (images := self._images(row)) < RARE:
            told.append(f"rare: {images} training images")
        return told + ([] if row["place"] in self.seen else ["a place that it has never seen"])


def guessed(row: Row) -> tuple[str, float]:
    """What the model takes a frame for, sure enough or not, and how sure it is."""
    empty = 0.0 if row["animal_confidence"] is None else 1 - row["animal_confidence"]
    return (BLANK, empty) if empty > 0.5 else (row["species"], row["species_confidence"])
