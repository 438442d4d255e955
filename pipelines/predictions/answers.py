"""One answer a frame or an event, as columns, with its reason in words."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.predictions.ladder import ANIMAL, BLANK, FINDINGS, Array, Ladder
from pipelines.predictions.thresholds import PEOPLE, Decided, Thresholds, decide
from pipelines.predictions.trust import Trust
from pipelines.taxa import asked_in
from xmodal.inference import Inference
from xmodal.metrics.classification import RANKS

UNKNOWN = "unknown"
ANSWER = pa.schema(
    [
        ("type", pa.string()),  # animal | blank | unknown: Camtrap DP's observationType
        ("taxon", pa.string()),  # scientific name; null = none is said, or the archive has only names of its own
        ("rank", pa.string()),  # species | genus | family | order | class; null = none is said
        ("common_name", pa.string()),  # in the language that the model is asked in, else the archive's; null = none
        ("confidence", pa.float64()),  # 0..1, calibrated, of this answer
        ("animal_confidence", pa.float64()),  # that something is there; null = the model knows no word for nothing
        ("species", pa.string()),  # the surest species, whatever the answer
        ("species_confidence", pa.float64()),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Answerer:
    """Turns vectors into answers."""

    ladder: Ladder
    classes: NDArray[np.float32]
    """(C, D) of the classes' texts."""
    temperature: float
    of_frames: Thresholds
    of_events: Thresholds
    language: str

    @classmethod
    def of(cls, model: Inference, trust: Trust, wanted: float) -> "Answerer":
        ladder, code = Ladder.of(model.state["taxa"], trust.blank), asked_in(model.recipe)
        classes = ladder.class_vectors(model, code).numpy()
        return cls(ladder, classes, trust.temperature, trust.of_frames[str(wanted)], trust.of_events[str(wanted)], code)

    def probabilities(self, vectors: NDArray[np.float32]) -> Array:
        """(N, C + 1) of vectors (N, D); the last column is that of an empty frame."""
        if not len(vectors):
            return np.zeros((0, len(self.ladder.species) + 1))
        return self.ladder.probabilities((vectors @ self.classes.T).astype(np.float64), self.temperature)

    def frames(self, probabilities: Array) -> pa.Table:
        """ANSWER rows."""
        return self._answered(probabilities, self.of_frames)

    def events(self, probabilities: Array) -> pa.Table:
        """ANSWER rows of events."""
        return self._answered(probabilities, self.of_events)

    def _answered(self, probabilities: Array, needed: Thresholds) -> pa.Table:
        found = decide(self.ladder, probabilities, needed)
        surest, sure = self.ladder.best(probabilities, "species")
        names = self.ladder.names["species"]
        said = [self._said(*one) for one in zip(found.finding.tolist(), found.taxon.tolist(), strict=True)]
        reasons = Reasons(needed)
        columns = {
            **{name: [one[name] for one in said] for name in ("type", "taxon", "rank", "common_name")},
            "confidence": self._confidence(found, probabilities),
            "animal_confidence": self._animal(probabilities),
            "species": [names[n] for n in surest.tolist()],
            "species_confidence": sure,
            "reason": [
                reasons.of(at, confidence, names[n], own, empty)
                for at, confidence, n, own, empty in zip(
                    found.finding.tolist(), found.confidence.tolist(), surest.tolist(), sure.tolist(),
                    probabilities[:, -1].tolist(), strict=True)
            ],
        }  # fmt: skip
        return pa.table([pa.array(columns[field.name], field.type) for field in ANSWER], schema=ANSWER)

    def _animal(self, probabilities: Array) -> pa.Array:
        return pa.array(1 - probabilities[:, -1]) if self.ladder.blank else pa.nulls(len(probabilities), pa.float64())

    def _confidence(self, found: Decided, probabilities: Array) -> pa.Array:
        """None where nothing is claimed."""
        return pa.array(found.confidence, mask=found.finding == PEOPLE)

    def _said(self, finding: int, taxon: int) -> dict[str, str | None]:
        return self._known[finding, taxon] if (finding, taxon) in self._known else self._words(finding, taxon)

    @cached_property
    def _known(self) -> dict[tuple[int, int], dict[str, str | None]]:
        return {}

    def _words(self, finding: int, taxon: int) -> dict[str, str | None]:
        name = FINDINGS[finding] if finding != PEOPLE else UNKNOWN
        said: dict[str, str | None] = {"type": name, "taxon": None, "rank": None, "common_name": None}
        if name in RANKS:
            own = self.ladder.name(name, taxon)
            facts = self.ladder.taxa[own] if name == "species" else {"value": own, "names": {}}
            common = facts["names"].get(self.language) or (None if facts["value"] else own)
            said = {"type": ANIMAL, "taxon": own if facts["value"] else None, "rank": name, "common_name": common}
        return self._known.setdefault((finding, taxon), said)


@dataclass(frozen=True)
class Reasons:
    """Why an answer is what it is, in a sentence."""

    needed: Thresholds

    def of(self, finding: int, confidence: float, species: str, sure: float, empty: float) -> str:
        """`sure` of the surest `species`; `empty`: how sure it is that nothing is there."""
        if finding == PEOPLE:
            told = self._short(BLANK, BLANK, empty) if empty > 0.5 else self._species(species, sure)
            return f"left to people: {told}"
        name = FINDINGS[finding]
        said = "an animal" if name == ANIMAL else name
        given = f"{said}: {_percent(confidence)} sure, {_percent(self.needed[name] or 0)} asked for"
        return given if name in ("species", BLANK) else f"{given}; not named further: {self._species(species, sure)}"

    def _species(self, species: str, sure: float) -> str:
        return self._short("species", f"species {species}", sure)

    def _short(self, name: str, said: str, sure: float) -> str:
        threshold = self.needed.get(name)
        asked = f"{_percent(threshold)} asked for" if threshold is not None else "no confidence was found to be enough"
        return f"{said} {_percent(sure)} sure, {asked}"


def _percent(share: float) -> str:
    """Never rounded up, so that what misses a threshold does not seem to reach it."""
    return f"{int(share * 1000) / 10:g} %"
