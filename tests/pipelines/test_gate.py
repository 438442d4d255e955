"""The gate's errors, by simulation: tables of answers at many places, of which it is known which model is better."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluate.gate import Answers, Decision, GateSettings, by_chance, decide

GATE = GateSettings()
PAIRS = 300
SPECIES = [f"species {number}" for number in range(12)]


def table(seed: int, gain: float, places: int = 30) -> tuple[Answers, Answers]:
    """Champion and challenger on one test set. Places differ in size, in how hard they are, and in what the new model
    is worth there (3 points either way); frames of an event are mostly right or wrong together."""
    draw = np.random.default_rng(seed)
    sizes = np.clip(draw.lognormal(3.4, 0.7, places).astype(int), 4, 300)
    place = np.repeat(np.arange(places), sizes)
    event = np.concatenate([1000 * number + np.arange(size) // 3 for number, size in enumerate(sizes)])
    _, of_event = np.unique(event, return_inverse=True)
    kind = draw.choice(len(SPECIES), of_event.max() + 1, p=np.arange(12, 0, -1) / 78)[of_event]
    hard, own = draw.normal(0.7, 0.1, places)[place], draw.normal(gain, 0.03, places)[place]
    luck = 0.7 * draw.normal(size=of_event.max() + 1)[of_event] + 0.7 * draw.normal(size=len(place))
    noise = 0.3 * draw.normal(size=(2, len(place)))
    rank = (luck + noise).argsort(1).argsort(1) / len(place)  # even over 0..1, alike for both models
    shares = np.clip([hard, hard + own], 0.02, 0.98)
    right = (rank < shares).astype(float)
    names = [f"image {number}" for number in range(len(place))]
    facts = (names, [f"place {one}" for one in place], [str(one) for one in event], [SPECIES[one] for one in kind])
    first, second = (Answers(*facts, one, sure) for one, sure in zip(right, shares, strict=True))
    return first, second


def decided(champion: Answers, challenger: Answers, gate: GateSettings = GATE) -> Decision:
    return decide(champion, challenger, frozenset(champion.place), frozenset(champion.species), gate)


def promoted(gain: float, **more: int) -> float:
    """Share of PAIRS of models that are promoted."""
    return float(np.mean([decided(*table(seed, gain, **more)).promote for seed in range(PAIRS)]))


@pytest.mark.parametrize("places", [12, pytest.param(30, marks=pytest.mark.slow)])
def test_of_worse_and_equal_models_few_are_promoted_and_of_better_ones_nearly_all(places: int) -> None:
    """Three points worse at most 1 %, equal at most 5 %, eight points better at least 95 %; two points are between."""
    rates = {gain: promoted(gain, places=places) for gain in (-0.03, 0.0, 0.02, 0.08)}
    assert rates[-0.03] <= 0.01 and rates[0.0] <= 0.05 and rates[0.08] >= 0.95, rates
    assert rates[0.0] < rates[0.02] < rates[0.08], rates


def smallest(model: Answers, which: str) -> tuple[str, int]:
    """The label with the fewest events of those that are asked for, and how many it has."""
    events = {one: set[str]() for one in getattr(model, which)}
    for label, event in zip(getattr(model, which), model.event, strict=True):
        events[label].add(event)
    counts = {one: len(own) for one, own in events.items() if len(own) >= GATE.least_events}
    rarest = min(counts, key=counts.__getitem__)
    return rarest, counts[rarest]


@pytest.mark.parametrize("which", ["place", "species"])
def test_a_gain_that_one_place_or_species_pays_for_is_refused(which: str) -> None:
    champion, challenger = table(1, 0.15)
    name, _ = smallest(champion, which)
    lost = np.array([one == name for one in getattr(champion, which)])
    broken = replace(challenger, right=np.where(lost, 0.0, challenger.right))
    found = decided(champion, broken)
    (failed,) = [check for check in found.checks if not check.holds]
    assert not found.promote and failed.name == {"place": "old places", "species": "old species"}[which]
    assert failed.found.startswith(f"worse: {name} by")
    new = decide(champion, broken, frozenset(champion.place) - {name}, frozenset(champion.species) - {name}, GATE)
    assert new.promote, "a place or species that the champion never answered for has nothing to lose"


def test_few_events_say_nothing() -> None:
    champion, challenger = table(1, 0.15)
    name, events = smallest(champion, "place")
    lost = np.array([one == name for one in champion.place])
    broken = replace(challenger, right=np.where(lost, 0.0, challenger.right))
    assert not decided(champion, broken).promote
    assert decided(champion, broken, GateSettings(least_events=events + 1)).promote


def test_overconfidence_is_refused_unless_the_champion_had_it_too() -> None:
    champion, challenger = table(2, 0.08)
    sure = np.full(len(challenger.image), 0.99)
    found = decided(champion, replace(challenger, confidence=sure))
    assert [check.name for check in found.checks if not check.holds] == ["calibration"] and not found.promote
    assert decided(replace(champion, confidence=sure), replace(challenger, confidence=sure)).promote


def test_one_place_is_not_enough() -> None:
    champion, challenger = (replace(one, place=["here"] * len(one.image)) for one in table(3, 0.2))
    found = decided(champion, challenger)
    assert not found.promote and "one place says nothing about others" in found.checks[0].found


def test_other_images_are_a_bug() -> None:
    champion, challenger = table(4, 0.0)
    with pytest.raises(ValueError, match="same images"):
        decided(champion, replace(challenger, image=challenger.image[::-1]))


def test_frames_of_an_event_are_one_witness() -> None:
    """Eight events, all worse: 1 in 256. Eight frames of one event: a coin's throw."""
    assert by_chance(-np.ones(8), np.arange(8)) == pytest.approx(1 / 256)
    assert by_chance(-np.ones(8), np.zeros(8)) == pytest.approx(1 / 2)
    assert by_chance(np.zeros(8), np.arange(8)) == 1
    assert by_chance(np.array([-1.0, -1.0, 1.0]), np.arange(3)) == pytest.approx(4 / 8)
