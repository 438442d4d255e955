"""How much work is left to people at places that training has not seen: what is accepted, how right it is, and how many
looks the rest takes. Each is a share of frames, so that it holds for a survey of any size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipelines.evaluate.recorded import Asked, guesses
from pipelines.evaluate.subject import Subject
from pipelines.predictions.ladder import FINDINGS, Array, Ladder
from pipelines.predictions.thresholds import PEOPLE, Decided, Thresholds, decide, rights
from pipelines.predictions.trust import WANTED, Measured, MeasuredSpecies, Share
from xmodal.metrics.figure import Figure
from xmodal.metrics.intervals import mean, mean_interval, wilson

Every = Mapping[str, Thresholds]
"""Wanted precision to thresholds."""


@dataclass(frozen=True)
class Unseen:
    """Frames of the split at unseen places, as the model sees them."""

    ladder: Ladder
    asked: Asked
    probabilities: Array

    @classmethod
    def of(cls, subject: Subject, ladder: Ladder, classes: Tensor, temperature: float) -> "Unseen | None":
        """None where people recorded nothing at such a place."""
        rows = [n for n, one in enumerate(subject.records) if one["place"] not in subject.seen_places]
        records, facts = ([of[n] for n in rows] for of in (subject.records, subject.facts))
        asked = Asked(subject.gallery.images[rows], records, facts, [subject.groups[n] for n in rows])
        if not asked.rows:
            return None
        return cls(ladder, asked, ladder.probabilities(asked.similarities(classes), temperature))

    def tested(self, needed: Every) -> dict[str, Measured]:
        """By wanted precision."""
        return {wanted: self._tested(thresholds) for wanted, thresholds in needed.items()}

    def figures(self, split: str, tested: Measured, needed: Thresholds) -> list[Figure]:
        """The overall shares at the wanted precision, each beside what guessing or looking at everything gives."""
        found = decide(self.ladder, self.probabilities, needed)
        right = rights(self.ladder, found, self.asked.truth)
        guess = mean(np.where(np.isnan(right), np.nan, guesses(self.ladder, found)))
        where = f"{tested.places} places that training has not seen"
        aim = f"at thresholds for {100 * WANTED:g} % precision; {where}"
        told = [
            ("accepted", "Frames that can be accepted unseen", tested.answered, 0.0, aim),
            ("right", "Right, of the frames accepted", tested.right, guess, f"{aim}; at the rank answered"),
            ("looks", "Looks left to people, of the frames", tested.looks, tested.bare,
             f"{aim}; one look settles frames of an event that are alike. Chance: no model, every event is looked at"),
        ]  # fmt: skip
        return [_figure(f"{split}/review/{name}", label, share, chance, note)
                for name, label, share, chance, note in told if share is not None]  # fmt: skip

    def _tested(self, needed: Thresholds) -> Measured:
        found, asked = decide(self.ladder, self.probabilities, needed), self.asked
        answered = (found.finding != PEOPLE).astype(np.float64)
        right = rights(self.ladder, found, asked.truth)
        alike = 2 * asked.event + (self.probabilities[:, -1] > 0.5)
        return Measured(
            frames=len(answered),
            places=len(set(asked.groups)),
            answered=_share(answered, asked.groups),
            right=None if np.isnan(right).all() else _share(right, asked.groups),
            looks=_share(looks(alike, answered == 0), asked.groups),
            bare=mean(looks(asked.event, np.ones(len(answered), bool))),
            species=self._species(found, answered, right),
        )

    def _species(self, found: Decided, answered: Array, right: Array) -> dict[str, MeasuredSpecies]:
        names, species = self.ladder.names["species"], FINDINGS.index("species")
        pairs = zip(found.finding.tolist(), found.taxon.tolist(), strict=True)
        said = np.array([names[taxon] if finding == species else "" for finding, taxon in pairs], object)
        shown = np.array([one.steps.get("species", "") for one in self.asked.truth], object)
        every = sorted({*shown.tolist(), *said.tolist()} - {""})
        return {name: MeasuredSpecies(answered=self._of(shown == name, answered), right=self._of(said == name, right))
                for name in every}  # fmt: skip

    def _of(self, rows: NDArray[np.bool_], values: Array) -> Share | None:
        known = np.flatnonzero(rows & ~np.isnan(values))
        return _share(values[known], [self.asked.groups[n] for n in known]) if len(known) else None


def looks(alike: NDArray[np.int64], left: NDArray[np.bool_]) -> Array:
    """(N,) the share of a look that each frame takes: frames that are `alike` and `left` to people share one."""
    count = np.bincount(alike[left], minlength=int(alike.max()) + 1)
    return np.where(left, 1 / np.maximum(count[alike], 1), 0.0)


def _share(values: Array, groups: Sequence[str]) -> Share:
    """The mean of those that are known. Where all are equal resampling shows no spread, which is no certainty: there
    the interval is Wilson's, as if each place were one trial."""
    around, known = mean_interval(values, groups), values[~np.isnan(values)]
    if around is not None and known.min() == known.max():
        places = len({group for group, value in zip(groups, values, strict=True) if not np.isnan(value)})
        around = wilson(round(places * known[0]), places)
    low, high = around or (None, None)
    return Share(value=mean(values), low=low, high=high, n=len(known))


def _figure(name: str, label: str, share: Share, chance: float, note: str) -> Figure:
    low, high = (None if end is None else 100 * end for end in (share.low, share.high))
    return Figure(name, 100 * share.value, 100 * chance, low, high, share.n, "%", note, label)
