"""What a sweep searched, as axes: heights of what was drawn, and what each setting explains of the scores' order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.tune.domains import AnyDomain, Choice, Interval
from pipelines.tune.outcome import Outcome, value

DRAWS = 2000
"""Bootstrap draws of an interval."""
LEAST = 5
"""Trials from which importance is told: below, anything explains everything."""


@dataclass(frozen=True)
class Axis:
    """A line from 0 to 1. `label` names it, `unit` says what is drawn where that is not the setting itself."""

    label: str
    unit: str
    low: float
    high: float
    logarithmic: bool
    path: str = ""
    names: Sequence[str] = ()
    """Of a choice: its values from below."""

    def height(self, one: Outcome) -> float | None:
        """Where a trial crosses it; None where the setting was not searched in it."""
        if not self.path:
            return self._place(one.best)
        drawn = one.drawn.get(self.path, self)
        return None if drawn is self else self._place(self.names.index(str(drawn)) if self.names else float(drawn))

    def _place(self, number: float) -> float:
        low, high, there = (math.log(x) if self.logarithmic else x for x in (self.low, self.high, number))
        return (there - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Heights and their texts."""
        if self.names:
            return [(self._place(at), name[:14]) for at, name in enumerate(self.names)]
        middle = math.sqrt(self.low * self.high) if self.logarithmic else (self.low + self.high) / 2
        digits = 3 if self.path else 4
        return [(self._place(one), f"{one:.{digits}g}") for one in dict.fromkeys((self.low, middle, self.high))]


def axes(settings: dict[str, AnyDomain], outcomes: Sequence[Outcome]) -> list[Axis]:
    """One of each setting, and the score's."""
    scores = [one.best for one in outcomes]
    score = Axis("best score", "", min(scores), max(scores), False)
    return [*(_axis(path, domain) for path, domain in settings.items()), score]


def _axis(path: str, domain: AnyDomain) -> Axis:
    label = ".".join(path.split(".")[-2:])
    if isinstance(domain, Interval):
        return Axis(label, domain.unit, *domain.bounds, domain.logarithmic, path)
    assert isinstance(domain, Choice)
    return Axis(label, "", 0, len(domain.values) - 1, False, path, [str(one) for one in domain.values])


@dataclass(frozen=True)
class Importance:
    """Share of the scores' order that one setting alone explains: Spearman's rho squared, of a choice eta squared of
    the ranks. `chance` is what is expected of a setting that does nothing."""

    path: str
    share: float
    low: float
    high: float
    chance: float
    trials: int
    where: str
    """Where scores are higher."""


def importances(settings: dict[str, AnyDomain], outcomes: Sequence[Outcome]) -> tuple[int, list[Importance]]:
    """The last step that all trials reached, and of their scores there the importance of each setting, the greatest
    first: later scores of trials that were let go on are not comparable. Empty with fewer than LEAST trials."""
    step = min(one.curve[-1][0] for one in outcomes)
    found = []
    for path, domain in settings.items():
        having = [one for one in outcomes if path in one.drawn]
        if len(having) >= LEAST:
            found.append(_importance(path, domain, having, step))
    return int(step), sorted(found, key=lambda one: one.share, reverse=True)


def _importance(path: str, domain: AnyDomain, outcomes: Sequence[Outcome], step: float) -> Importance:
    scores = _ranks(np.array([max(score for at, score in one.curve if at <= step) for one in outcomes]))
    drawn, n = [one.drawn[path] for one in outcomes], len(outcomes)
    if isinstance(domain, Choice):
        values, explained = np.array([domain.values.index(one) for one in drawn]), _eta
        kinds = sorted(set(values.tolist()))
        chance, best = (len(kinds) - 1) / (n - 1), max(kinds, key=lambda one: scores[values == one].mean())
        where = f"are highest at {value(domain.values[best])}"
    else:
        values, explained, chance = _ranks(np.array(drawn, float)), _rho, 1 / (n - 1)
        rising = ((values - values.mean()) * scores).sum() > 0
        where = f"{'rise' if rising else 'fall'} with {domain.unit or 'it'}"
    generator = np.random.default_rng(0)
    picks = [generator.integers(n, size=n) for _ in range(DRAWS)]
    low, high = np.quantile([explained(values[pick], scores[pick]) for pick in picks], (0.025, 0.975))
    return Importance(path, explained(values, scores), float(low), float(high), chance, n, where)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ties share their mean."""
    return (values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) - 1) / 2


def _rho(values: np.ndarray, scores: np.ndarray) -> float:
    if values.std() == 0 or scores.std() == 0:
        return 0.0
    return float(np.corrcoef(values, scores)[0, 1] ** 2)


def _eta(values: np.ndarray, scores: np.ndarray) -> float:
    whole = ((scores - scores.mean()) ** 2).sum()
    between = sum(
        (values == one).sum() * (scores[values == one].mean() - scores.mean()) ** 2 for one in set(values.tolist())
    )
    return float(between / whole) if whole else 0.0
