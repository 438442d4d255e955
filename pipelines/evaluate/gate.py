"""Whether a challenger takes the champion's place.

Both have answered the same frozen test images, so rows are paired and what both find hard cancels out. All of these
must hold:

    overall      more images right, in at least `sure` of the resamples of the places that a paired bootstrap draws
    old places   at no place that the champion was measured at before has it become worse by more than `most_loss`
    old species  nor for any species that the champion knows
    calibration  the error of its confidence (ECE) is at most `calibration`, or at most the champion's

A place or species counts as worse where the share of images right fell by more than `most_loss` and chance alone would
not do that: a sign test over its events (frames of one event are one witness), adjusted for how many places, or
species, are looked at (Bonferroni), at 5 %. With fewer than `least_events` events it says nothing, and could not: of
thirty places ten events that all became worse are needed to stand out. Whatever does not hold keeps the champion.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xmodal.metrics.calibration import ece
from xmodal.metrics.paired import paired
from xmodal.settings import Settings

CHANCE = 0.05
"""Of all places, or species, together: how often one is called worse by chance."""


class GateSettings(Settings):
    """What a challenger must show."""

    sure: float = Field(default=0.975, gt=0.5, lt=1)
    """Share of the resamples of places in which it must be better than the champion."""
    most_loss: float = Field(default=0.1, gt=0, le=1)
    """Largest fall of the share of images right at an old place, or of an old species, 0..1."""
    least_events: int = Field(default=10, ge=1)
    """Test events below which a place or a species says nothing."""
    calibration: float = Field(default=0.1, ge=0, le=1)
    """Largest calibration error (ECE), 0..1; a champion that is worse may be followed by one that is no worse."""


@dataclass(frozen=True)
class Answers:
    """What one model said of N test images, in their order; all of length N."""

    image: Sequence[str]
    place: Sequence[str]
    event: Sequence[str]
    species: Sequence[str]
    right: NDArray[np.float64]
    """0 or 1."""
    confidence: NDArray[np.float64]
    """0..1, of the answer given."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold, and what was found, in words."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why."""

    promote: bool
    checks: tuple[Check, ...]


def decide(
    champion: Answers, challenger: Answers, old_places: frozenset[str], old_species: frozenset[str], gate: GateSettings
) -> Decision:
    """Raises ValueError where the two have not answered the same images in the same order."""
    if list(champion.image) != list(challenger.image):
        raise ValueError("champion and challenger must have answered the same images in the same order")
    checks = (
        overall(champion, challenger, gate),
        nowhere_worse("old places", champion.place, old_places, champion, challenger, gate),
        nowhere_worse("old species", champion.species, old_species, champion, challenger, gate),
        calibration(champion, challenger, gate),
    )
    return Decision(all(check.holds for check in checks), checks)


def overall(champion: Answers, challenger: Answers, gate: GateSettings) -> Check:
    """More images right, places resampled; of a single place nothing can be said of others."""
    found = paired(challenger.right, champion.right, champion.place)
    before, after = champion.right.mean(), challenger.right.mean()
    told = f"{_percent(after)} right after {_percent(before)}"
    if found.better is None:
        return Check("overall", False, f"{told}; one place says nothing about others")
    holds = found.better >= gate.sure
    return Check("overall", holds, f"{told}; better in {_percent(found.better)} of the resamples of places")


def nowhere_worse(
    name: str,
    of: Sequence[str],
    old: frozenset[str],
    champion: Answers,
    challenger: Answers,
    gate: GateSettings,
) -> Check:
    """No group of `of` (N,) that is among `old` has become worse."""
    gaps, groups, events = challenger.right - champion.right, np.asarray(of), np.asarray(champion.event)
    asked = [one for one in sorted(old) if len(np.unique(events[groups == one])) >= gate.least_events]
    falls = {one: float(gaps[groups == one].mean()) for one in asked}
    worse = [
        one
        for one, fall in falls.items()
        if fall < -gate.most_loss and by_chance(gaps[groups == one], events[groups == one]) < CHANCE / len(asked)
    ]
    if worse:
        lost = ", ".join(f"{one} by {_percent(-falls[one])}" for one in sorted(worse, key=falls.__getitem__))
        return Check(name, False, f"worse: {lost}")
    return Check(name, True, f"none of {len(asked)} with at least {gate.least_events} events is worse")


def by_chance(gaps: NDArray[np.float64], events: NDArray) -> float:
    """p of a one-sided sign test: so many events, or more, that became worse, were better and worse equally likely."""
    _, number = np.unique(events, return_inverse=True)
    net = np.bincount(number, gaps)
    worse, moved = int((net < 0).sum()), int((net != 0).sum())
    return sum(math.comb(moved, k) for k in range(worse, moved + 1)) / 2**moved


def calibration(champion: Answers, challenger: Answers, gate: GateSettings) -> Check:
    """The confidence means what it says."""
    errors = [ece(one.confidence, one.right) for one in (champion, challenger)]
    bound = max(gate.calibration, errors[0])
    told = f"calibration error {_percent(errors[1])} after {_percent(errors[0])}, allowed {_percent(bound)}"
    return Check("calibration", errors[1] <= bound, told)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
