"""Pairs of models of which it is known how much better one is, drawn from stored answers of trained ones, and what the
gate says of them: `python -m tests.pipelines.gate_pairs` prints the table of docs/retraining.md.

A drawn pair has so many of the stored places, each as often as it is drawn, and its two models are dealt place by place
from two that were trained by other seeds: neither is better. Then so many of one model's answers are put right, or
wrong, event after event, and its confidence follows.
"""

from dataclasses import replace

import numpy as np

from pipelines.evaluate.gate import Answers, Decision, GateSettings, decide
from tests.pipelines.score_table import stored
from xmodal.metrics.intervals import wilson

PAIRS = 300
GAINS = {"worse": -0.03, "equal": 0.0, "slightly": 0.02, "clearly": 0.08}


def decided(champion: Answers, challenger: Answers) -> Decision:
    return decide(champion, challenger, frozenset(champion.place), frozenset(champion.species), GateSettings())


def drawn(seed: int, gain: float, places: int) -> tuple[Answers, Answers]:
    """Champion and challenger, of which one is `gain` ahead."""
    draw, (first, second) = np.random.default_rng(seed), (stored("champion"), stored("equal"))
    place, event = np.unique(first.place, return_inverse=True)[1], np.unique(first.event, return_inverse=True)[1]
    chosen = [np.flatnonzero(place == one) for one in draw.integers(0, place.max() + 1, places)]
    rows, number = np.concatenate(chosen), np.repeat(np.arange(places), [len(one) for one in chosen])
    event = number * (event.max() + 1) + event[rows]
    dealt = draw.integers(0, 2, places)[number].astype(bool)
    facts = (
        [str(n) for n in range(len(rows))],
        [f"place {one}" for one in number],
        [str(one) for one in event],
        list(np.asarray(first.species)[rows]),
    )
    models = [
        Answers(
            *facts, *(np.where(dealt, getattr(b, of)[rows], getattr(a, of)[rows]) for of in ("right", "confidence"))
        )
        for a, b in ((first, second), (second, first))
    ]
    return models[0], moved(draw, models[1], gain)


def moved(draw: np.random.Generator, model: Answers, gain: float) -> Answers:
    """The model with so large a share of its answers more, or fewer, right."""
    right, order = model.right == 1, draw.permutation(len(set(model.event)))
    turn = order[np.unique(model.event, return_inverse=True)[1]]
    others = np.flatnonzero(right != (gain > 0))
    put = others[turn[others].argsort(kind="stable")][: round(abs(gain) * len(right))]
    right[put] = gain > 0
    return replace(model, right=right.astype(float), confidence=np.clip(model.confidence + gain, 0, 1))


def promoted(gain: float, places: int) -> int:
    """Of PAIRS drawn pairs, those whose challenger the gate promotes."""
    return sum(decided(*drawn(seed, gain, places)).promote for seed in range(PAIRS))


def main() -> None:
    for places in (60, 30, 12):
        for name, gain in GAINS.items():
            count = promoted(gain, places)
            found = wilson(count, PAIRS)
            assert found is not None
            print(f"{places} places  {name}  {count / PAIRS:.1%} ({found.low:.1%} to {found.high:.1%})", flush=True)


if __name__ == "__main__":
    main()
