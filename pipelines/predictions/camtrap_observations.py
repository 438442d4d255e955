"""Answers as rows of Camtrap DP's observations (1.0.2): of a medium and of an event, by a machine, with its reason."""

from dataclasses import dataclass
from typing import Any

from pipelines.predictions.made_by import Maker
from pipelines.predictions.moments import Moments
from pipelines.prepare.digests import digest

OBSERVATIONS = (
    "observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
    "observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior", "individualID",
    "individualPositionRadius", "individualPositionAngle", "individualSpeed", "bboxX", "bboxY", "bboxWidth",
    "bboxHeight", "classificationMethod", "classifiedBy", "classificationTimestamp", "classificationProbability",
    "observationTags", "observationComments",
)  # fmt: skip
"""Fields of the table schema, in its order."""
BOX = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")
Row = dict[str, Any]


@dataclass(frozen=True)
class Observed:
    """Rows of one maker."""

    maker: Maker
    moments: Moments

    def of_medium(self, row: Row) -> Row | None:
        """Of an answered frame; None where its time is not known, which the standard asks for."""
        span = (row["event_start"] or row["captured_at"], row["event_end"] or row["captured_at"])
        start, end = (self.moments.written(wall, row["utc_offset"]) for wall in span)
        if start is None or end is None:
            return None
        box = dict(zip(BOX, row["crop"].split(","), strict=True)) if row["crop"] else {}
        name = self._name("media", row["survey"], row["media_id"], row["crop"] or "")
        return self._row(row, name, start, end) | {"mediaID": row["media_id"], "observationLevel": "media"} | box

    def of_event(self, row: Row) -> Row | None:
        """Of an answered event; None where it has no name (a frame that is in none) or no time."""
        start, end = (self.moments.written(row[name], row["utc_offset"]) for name in ("start", "end"))
        if row["event_id"] is None or start is None or end is None:
            return None
        name = self._name("event", row["survey"], row["event_id"])
        return self._row(row, name, start, end) | {"observationLevel": "event"}

    def _name(self, *of: str) -> str:
        """The same for the same model and medium, so that writing again replaces."""
        return f"xmodal-{digest('observation', self.maker.trust.weights, *of)[:20]}"

    def _row(self, row: Row, name: str, start: str, end: str) -> Row:
        called = f"{row['common_name']}; " if row["common_name"] and row["taxon"] is None else ""
        confidence, person = row["confidence"], row.get("by_a_person", False)
        told = {"count": "count", "lifeStage": "life_stage", "sex": "sex", "behavior": "behavior"}
        return {
            "observationID": name, "deploymentID": row["deployment_id"], "eventID": row["event_id"],
            "eventStart": start, "eventEnd": end, "observationType": row["type"], "scientificName": row["taxon"],
            "classificationMethod": "human" if person else "machine",
            "classifiedBy": None if person else self.maker.model,
            "classificationTimestamp": None if person else self.maker.at,
            "classificationProbability": None if confidence is None else f"{confidence:.4f}",
            "observationComments": f"{called}{row['reason']}".removesuffix("; "),
        } | {name: row.get(column) for name, column in told.items()}  # fmt: skip
