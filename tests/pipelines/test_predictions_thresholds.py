"""Answers at thresholds, on numbers drawn by a seed: the share right that was asked for holds at every rank."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.predictions.answers import Answerer
from pipelines.predictions.events import Events, Pool
from pipelines.predictions.ladder import BLANK, FINDINGS, Ladder
from pipelines.predictions.thresholds import PEOPLE, Truth, decide, right_at, rights, thresholds
from xmodal.metrics.pooling import present
from xmodal.metrics.selective import least_confidence


def fact(name: str, *above: str) -> dict:
    lineage = dict(zip(("class", "order", "family", "genus"), above, strict=False))
    return {"value": name, "rank": "species", "lineage": lineage, "names": {}}


TAXA = {
    "Vulpes vulpes": fact("Vulpes vulpes", "Mammalia", "Carnivora", "Canidae", "Vulpes"),
    "Vulpes zerda": fact("Vulpes zerda", "Mammalia", "Carnivora", "Canidae", "Vulpes"),
    "Canis lupus": fact("Canis lupus", "Mammalia", "Carnivora", "Canidae", "Canis"),
    "Sus scrofa": fact("Sus scrofa", "Mammalia", "Artiodactyla", "Suidae", "Sus"),
    "fox": {"value": None, "rank": None, "lineage": {}, "names": {"eng": "fox"}},
}
LADDER = Ladder.of(TAXA, blank=True)


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, list[Truth]]:
    """Probabilities of a model that is as right as it is sure, and what is true."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(len(TAXA) + 1, 0.3), count)
    shown = [generator.choice(len(TAXA) + 1, p=one) for one in probabilities]
    every = [Truth("animal", LADDER.steps(name)) for name in LADDER.species] + [Truth(BLANK, {})]
    return probabilities, [every[n] for n in shown]


def test_the_least_confidence_is_that_of_the_largest_set_that_is_right_enough() -> None:
    """Held against all cuts, one after the other."""
    generator = np.random.default_rng(1)
    for wanted in (0.5, 0.8, 0.95):
        for _ in range(50):
            sure = generator.integers(0, 30, 60) / 30
            right = np.where(generator.random(60) < 0.1, np.nan, generator.random(60) < sure)
            cuts = [cut for cut in np.unique(sure[~np.isnan(right)]) if np.nansum(right[sure >= cut])
                    >= wanted * (1 + (~np.isnan(right[sure >= cut])).sum())]  # fmt: skip
            assert least_confidence(sure, right, wanted) == (min(cuts) if cuts else None)
    assert least_confidence(np.ones(18), np.ones(18), 0.95) is None, "eighteen right ones are too few to say 95 %"
    assert least_confidence(np.ones(19), np.ones(19), 0.95) == 1.0
    assert least_confidence(np.array([]), np.array([]), 0.95) is None


@pytest.mark.parametrize("wanted", [0.8, 0.9, 0.95])
def test_the_answers_of_each_rank_are_as_right_as_asked_for(wanted: float) -> None:
    probabilities, truth = drawn(3000)
    needed = thresholds(LADDER, probabilities, truth, wanted)
    found = decide(LADDER, probabilities, needed)
    right = rights(LADDER, found, truth)
    given = {FINDINGS[n] for n in np.unique(found.finding) if n != PEOPLE}
    assert {"species", "family", BLANK} <= given, "something is rolled up, or this proves nothing"
    for name in given:
        own = right[found.finding == FINDINGS.index(name)]
        assert np.nanmean(own) >= wanted, name
    fresh, others = drawn(3000, seed=7)
    assert np.nanmean(rights(LADDER, decide(LADDER, fresh, needed), others)) > wanted - 0.03, "on others nearly so"


def test_the_narrowest_rank_that_is_sure_enough_is_named() -> None:
    needed = {"species": 0.8, "genus": 0.8, "family": 0.7, "blank": 0.9, "animal": 0.5}
    columns = [*LADDER.species, BLANK]
    foxes, dogs = {"Vulpes vulpes": 0.5, "Vulpes zerda": 0.4}, {"Vulpes vulpes": 0.4, "Canis lupus": 0.35}
    rows = [
        {"Vulpes vulpes": 0.9},
        foxes,
        dogs,
        {BLANK: 0.95},
        {BLANK: 0.6, "fox": 0.4},
        {"fox": 0.5, "Sus scrofa": 0.5},
    ]
    probabilities = np.array([[row.get(name, 0.0) for name in columns] for row in rows])
    found = decide(LADDER, probabilities, needed)
    said = [FINDINGS[n] if n != PEOPLE else None for n in found.finding]
    assert said == ["species", "genus", "family", "blank", None, "animal"]
    answered = Answerer(LADDER, np.zeros((6, 2), np.float32), 1.0, needed, {}, "eng").frames(probabilities).to_pylist()
    assert [one["taxon"] for one in answered] == ["Vulpes vulpes", "Vulpes", "Canidae", None, None, None]
    assert [one["type"] for one in answered] == ["animal", "animal", "animal", "blank", "unknown", "animal"]
    assert answered[1]["reason"] == ("genus: 90 % sure, 80 % asked for; not named further: species Vulpes vulpes "
                                     "50 % sure, 80 % asked for")  # fmt: skip
    assert answered[4]["reason"] == "left to people: blank 60 % sure, 90 % asked for"
    assert answered[4]["confidence"] is None and answered[5]["confidence"] == pytest.approx(1.0)


def test_a_species_of_common_name_alone_has_no_scientific_one() -> None:
    one_hot = np.zeros((1, 6))
    one_hot[0, LADDER.species.index("fox")] = 1.0
    (row,) = (
        Answerer(LADDER, np.zeros((6, 2), np.float32), 1.0, {"species": 0.5}, {}, "eng").frames(one_hot).to_pylist()
    )
    assert (row["taxon"], row["common_name"], row["rank"]) == (None, "fox", "species")


def test_a_record_that_is_too_coarse_neither_proves_nor_refutes() -> None:
    position = LADDER.names["species"].index("Vulpes vulpes")
    dog, cat = Truth("animal", {"family": "Canidae"}), Truth("animal", {"family": "Felidae"})
    assert np.isnan(right_at(LADDER, "species", position, dog)) and right_at(LADDER, "species", position, cat) == 0
    assert right_at(LADDER, "species", position, Truth(BLANK, {})) == 0
    assert right_at(LADDER, "animal", 0, Truth("animal", {})) == 1 and right_at(LADDER, BLANK, 0, dog) == 0


def test_a_model_without_a_word_for_nothing_never_says_that_something_is_there() -> None:
    ladder = Ladder.of(TAXA, blank=False)
    probabilities = np.pad(np.random.default_rng(0).dirichlet(np.full(5, 0.3), 500), ((0, 0), (0, 1)))
    truth = [Truth("animal", ladder.steps(ladder.species[n])) for n in probabilities.argmax(1)]
    needed = thresholds(ladder, probabilities, truth, 0.9)
    assert needed["animal"] is None and needed[BLANK] is None and needed["species"] is not None


def test_events_pooled_part_by_part_are_those_of_all_frames_at_once() -> None:
    """Frames of an event lie in several parts; some could not be read, of one event none."""
    generator = np.random.default_rng(3)
    event = generator.integers(0, 40, 200)
    event[:40] = np.arange(40)
    read = (generator.random(200) < 0.8) & (event != 7)
    probabilities = generator.dirichlet(np.ones(4), 200)
    events = Events(event, pa.table({"frames": np.bincount(event)}))
    pool, whole, pooled = Pool(events), [], []
    for begin in range(0, 200, 30):
        rows = np.flatnonzero(read[begin : begin + 30])
        codes, found = pool.add(begin, min(30, 200 - begin), rows, probabilities[begin : begin + 30][rows])
        whole += codes.tolist()
        pooled.append(found)
    expected = {code: present(probabilities[read & (event == code)], np.zeros(n, np.int64))[0]
                for code in range(40) if (n := int((read & (event == code)).sum()))}  # fmt: skip
    assert sorted(whole) == sorted(expected) and 7 not in whole
    assert np.allclose(np.concatenate(pooled), np.stack([expected[code] for code in whole]))
    assert np.allclose(np.concatenate(pooled).sum(1), 1)


def test_species_of_common_names_alone_have_no_rank_above() -> None:
    ladder = Ladder.of(dict.fromkeys(("boar", "fox"), TAXA["fox"]), blank=True)
    probabilities = np.random.default_rng(0).dirichlet(np.full(3, 0.2), 200)
    every = [*(Truth("animal", ladder.steps(name)) for name in ladder.species), Truth(BLANK, {})]
    needed = thresholds(ladder, probabilities, [every[n] for n in probabilities.argmax(1)], 0.9)
    assert needed["species"] is not None and needed["genus"] is None
