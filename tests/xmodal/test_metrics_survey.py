"""The survey protocol's metrics: slow references, closed forms, and intervals on simulated surveys of 120 places."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from xmodal.metrics import calibration, survey_tables
from xmodal.metrics.calibration import best_temperature, bins, ece, ece_floor, ece_interval, softmax
from xmodal.metrics.classification import RANKS
from xmodal.metrics.f1 import macro_f1, macro_f1_chance, macro_f1_interval
from xmodal.metrics.intervals import mean_interval
from xmodal.metrics.paired import paired
from xmodal.metrics.pooling import POOLINGS, average, largest
from xmodal.metrics.taxonomy import gains, lca_chance, lca_steps
from xmodal.metrics.worst import worst_tenth

PLACES, FRAMES = 120, 8
_LADDERS = {
    "red fox": ("Vulpes vulpes", "Vulpes", "Canidae", "Carnivora", "Mammalia"),
    "corsac": ("Vulpes corsac", "Vulpes", "Canidae", "Carnivora", "Mammalia"),
    "wolf": ("Canis lupus", "Canis", "Canidae", "Carnivora", "Mammalia"),
    "lynx": ("Lynx lynx", "Lynx", "Felidae", "Carnivora", "Mammalia"),
    "boar": ("Sus scrofa", "Sus", "Suidae", "Artiodactyla", "Mammalia"),
    "magpie": ("Pica pica", "Pica", "Corvidae", "Passeriformes", "Aves"),
    "bare": ("Ursus arctos", "Ursus"),
}
LINEAGES = {name: dict(zip(map(str, RANKS), ladder, strict=False)) for name, ladder in _LADDERS.items()}


def survey(seed: int = 0, spread: float = 0.25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right answers (n,) of two models of a mean 0.6 and 0.55, and places (n,): a place is hard or easy for both."""
    generator = np.random.default_rng(seed)
    ease = np.clip(generator.normal(0, spread, PLACES), -0.35, 0.35).repeat(FRAMES)
    draws = generator.random(PLACES * FRAMES)  # a frame is hard for both, too
    first = (0.8 * draws + 0.2 * generator.random(len(draws)) < 0.6 + ease).astype(float)
    second = (0.8 * draws + 0.2 * generator.random(len(draws)) < 0.55 + ease).astype(float)
    return first, second, np.arange(PLACES).repeat(FRAMES)


def width(interval) -> float:
    assert interval is not None
    return interval.high - interval.low


# --- F1


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=40))
def test_macro_f1_equals_scikit_learn_over_the_classes_present(pairs):
    truth, predicted = (list(side) for side in zip(*pairs, strict=True))
    expected = f1_score(truth, predicted, labels=sorted(set(truth)), average="macro", zero_division=0)  # pyright: ignore[reportArgumentType]
    assert macro_f1(truth, predicted) == pytest.approx(expected)


def test_macro_f1_interval_equals_resampling_row_by_row():
    generator = np.random.default_rng(1)
    truth, predicted = (list(generator.choice([*"abc"], 40)) for _ in range(2))
    groups = [f"place {n}" for n in generator.integers(0, 7, 40)]
    names, slow = sorted(set(groups)), []
    for draw in np.random.default_rng(3).integers(0, len(names), (60, len(names))):
        rows = [n for pick in draw for n in range(40) if groups[n] == names[pick]]
        slow.append(macro_f1([truth[n] for n in rows], [predicted[n] for n in rows]))
    assert macro_f1_interval(truth, predicted, groups, 60, 3) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
    assert macro_f1_interval(truth, predicted, ["here"] * 40) is None


def test_macro_f1_chance_is_what_guessing_gives():
    truth = ["a"] * 600 + ["b"] * 250 + ["c"] * 150
    generator = np.random.default_rng(0)
    guessed = np.mean([macro_f1(truth, list(generator.choice([*"abcde"], 1000))) for _ in range(100)])
    assert macro_f1_chance(truth, 5) == pytest.approx(guessed, abs=0.003)


def test_f1_needs_pairs():
    with pytest.raises(ValueError, match="pair up"):
        macro_f1(["a"], [])
    with pytest.raises(ValueError, match="at least one"):
        macro_f1([], [])


# --- events


def test_pooling_equals_a_loop_over_events():
    generator = np.random.default_rng(2)
    shares, events = generator.dirichlet(np.ones(4), 30), np.r_[np.arange(9), generator.integers(0, 9, 21)]
    for pool, reduce in ((largest, np.max), (average, np.mean)):
        slow = np.stack([reduce(shares[events == event], axis=0) for event in range(9)])
        np.testing.assert_allclose(pool(shares, events), slow)
    assert list(POOLINGS) == ["max", "mean"]


def test_one_sure_frame_speaks_for_the_event_by_max_and_is_outvoted_by_mean():
    shares = np.array([[0.95, 0.05], [0.2, 0.8], [0.1, 0.9], [0.2, 0.8]])
    events = np.zeros(4, np.int64)
    assert largest(shares, events).argmax(1) == [0] and average(shares, events).argmax(1) == [1]


# --- taxonomy


def test_steps_to_the_lowest_shared_taxon():
    answers = ["red fox", "corsac", "wolf", "lynx", "boar", "magpie"]
    assert lca_steps(["red fox"] * 6, answers, LINEAGES).tolist() == [0, 1, 2, 3, 4, 5]
    assert lca_steps(answers, ["red fox"] * 6, LINEAGES).tolist() == [0, 1, 2, 3, 4, 5], "a distance is symmetric"


def test_gains_fall_with_taxonomic_distance():
    shown = ["red fox", "corsac", "wolf", "lynx", "boar", "magpie", "bare", ""]
    rows = gains(["red fox", "bare", "", "magpie"], shown, LINEAGES)
    found = rows(slice(0, 4)).numpy()
    assert found[0].tolist() == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0])
    assert np.isnan(found[1:3]).all(), "no name at every rank, no taxon"
    assert found[3].tolist() == [0, 0, 0, 0, 0, 1, 0, 0] and rows(slice(3, 4)).tolist() == [found[3].tolist()]


def test_gaps_in_a_lineage_never_flatter():
    assert np.isnan(lca_steps(["bare", "bare"], ["bare", "wolf"], LINEAGES)).all(), "left out by the truth alone"
    assert lca_steps(["wolf"], ["bare"], LINEAGES) == [5] and lca_steps(["wolf"], ["unheard of"], LINEAGES) == [5]


def test_chance_steps_are_the_mean_over_candidates():
    slow = np.mean([lca_steps(["wolf"], [name], LINEAGES)[0] for name in LINEAGES])
    assert lca_chance(["wolf", "bare"], list(LINEAGES), LINEAGES)[0] == pytest.approx(slow)
    assert np.isnan(lca_chance(["bare"], list(LINEAGES), LINEAGES)).all()


def test_lca_row_says_what_was_left_out():
    truth, answers = ["wolf", "bare", "lynx"], ["lynx", "bare", "lynx"]
    (row,) = survey_tables.lca("test", truth, answers, truth, list(LINEAGES), LINEAGES, "abc")
    assert (row.value, row.n, row.baseline, row.unit) == (1.5, 2, 0, "")
    assert "1 images without a name at every rank left out" in row.note
    assert survey_tables.lca("test", ["bare"], ["bare"], ["bare"], ["bare"], LINEAGES, "a") == []


# --- calibration


def test_ece_equals_the_paper_written_out():
    generator = np.random.default_rng(4)
    sure = generator.random(500)
    right = (generator.random(500) < sure**2).astype(float)
    total = 0.0
    for m in range(1, 16):
        held = (sure > (m - 1) / 15) & (sure <= m / 15)
        if held.any():
            total += held.mean() * abs(right[held].mean() - sure[held].mean())
    assert ece(sure, right) == pytest.approx(total)
    found = bins(sure, right)
    assert sum(one.n * abs(one.right - one.confidence) for one in found) / 500 == pytest.approx(total)
    assert sum(one.n for one in found) == 500 and all(one.low < one.confidence <= one.high for one in found)


def test_edges_belong_to_the_bin_below_and_nothing_falls_out():
    assert [one.n for one in bins(np.array([0.0, 0.2, 0.2 + 1e-9, 1.0]), np.ones(4), 5)] == [2, 1, 1]
    with pytest.raises(ValueError, match="finite"):
        ece(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="finite"):
        ece(np.array([math.nan]), np.array([1.0]))


def test_a_calibrated_model_shows_no_more_than_the_floor():
    generator = np.random.default_rng(5)
    sure = generator.uniform(0.3, 1, 400)
    found = np.mean([ece(sure, (generator.random(400) < sure).astype(float)) for _ in range(200)])
    assert ece_floor(sure) == pytest.approx(found, rel=0.05) and 0.02 < found < 0.08
    assert ece(np.full(400, 0.9), np.ones(400)) == pytest.approx(0.1)


def test_ece_interval_covers_the_true_gap():
    """Twelve frames at each of 120 places that are harder or easier together; the true gap is 0.15."""
    covered = 0
    for trial in range(60):
        generator = np.random.default_rng(trial)
        sure = generator.uniform(0.5, 1, 1440)
        ease = generator.normal(0, 0.1, 120).repeat(12)
        right = (generator.random(1440) < np.clip(sure - 0.15 + ease, 0, 1)).astype(float)
        bounds = ece_interval(sure, right, np.arange(120).repeat(12), draws=300, seed=trial)
        assert bounds is not None and bounds.low <= ece(sure, right) <= bounds.high
        covered += bounds.low <= 0.15 <= bounds.high
    assert covered / 60 >= 0.88
    assert ece_interval(sure, right, ["here"] * 1440) is None


def test_temperature_scaling_finds_the_temperature_that_drew_the_labels():
    generator = np.random.default_rng(6)
    similarities = generator.normal(size=(4000, 6)) * 0.3
    shares = softmax(similarities, 0.2)
    np.testing.assert_allclose(shares.sum(1), 1)
    truth = np.array([generator.choice(6, p=row) for row in shares])
    assert best_temperature(similarities, truth) == pytest.approx(0.2, rel=0.08)
    assert softmax(similarities * 1e5, 0.01).max() == 1, "no overflow"


def test_calibration_row_stands_beside_its_floor():
    sure, right = np.full(40, 0.9), np.zeros(40)
    row = survey_tables.confidence("test/calibration/ece", "", sure, right, np.arange(40) % 5)
    assert row.value == pytest.approx(90) and row.chance == pytest.approx(100 * calibration.ece_floor(sure))


# --- worst places


def test_worst_tenth_is_the_mean_of_the_worst_places():
    right = np.concatenate([np.r_[np.ones(n), np.zeros(10 - n)] for n in range(20, 0, -1) if n <= 10] * 2)
    found = worst_tenth(right, np.arange(20).repeat(10))
    assert found is not None and (found.places, found.worst, found.n) == (20, 2, 200)
    assert found.share == pytest.approx(0.1)
    assert worst_tenth(right[:10], [0] * 10) is None
    small = worst_tenth(np.r_[right, 0.0], [*np.arange(20).repeat(10), 99])
    assert small is not None and small.share == found.share, "a place of one image is not among the worst"


def test_worst_tenth_interval_equals_resampling_places():
    right, _, places = survey(3)
    shares = right.reshape(PLACES, FRAMES).mean(1)
    order = np.argsort([str(place) for place in range(PLACES)], kind="stable")  # groups are numbered by their text
    drawn = np.random.default_rng(8).integers(0, PLACES, (200, PLACES))
    slow = [np.sort(shares[order][draw])[: PLACES // 10].mean() for draw in drawn]
    found = worst_tenth(right, places, draws=200, seed=8)
    assert found is not None
    assert found.interval == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_places_that_differ_are_worse_at_worst_than_answers_dealt_at_random():
    unlike, alike = (worst_tenth(right, places) for right, _, places in (survey(0, 0.3), survey(0, 0.0)))
    assert unlike is not None and alike is not None
    assert unlike.interval is not None and unlike.interval.high < unlike.dealt
    assert alike.interval is not None and alike.interval.low <= alike.dealt <= alike.interval.high + 0.02


# --- paired


def test_paired_is_narrower_than_the_two_apart_and_sees_what_they_cannot():
    first, second, places = survey()
    found = paired(first, second, places)
    apart = survey_tables.apart("", "", (first, places), (second, places + PLACES))
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert width(found.interval) < 0.6 * width(apart.interval) / 100
    assert found.interval is not None and found.interval.low > 0 and apart.low is not None and apart.low < 0
    assert found.better is not None and found.better > 0.99


def test_paired_interval_covers_the_true_difference_about_as_often_as_it_says():
    truth = np.mean([np.subtract(*survey(1000 + trial)[:2]).mean() for trial in range(200)])
    held = [paired(*survey(trial), draws=300, seed=trial).interval for trial in range(100)]
    covered = np.mean([float(one is not None and one.low <= truth <= one.high) for one in held])
    assert 0.88 <= covered <= 0.99


def test_paired_cancels_what_both_share():
    hard = np.random.default_rng(2).normal(0, 5, 200)
    assert paired(hard + 0.2, hard, np.arange(200)).interval == pytest.approx((0.2, 0.2))


def test_paired_swaps_sign_and_counts_a_tie_as_half():
    first, second, places = survey(1)
    one, other = paired(first, second, places), paired(second, first, places)
    assert one.difference == -other.difference
    assert one.better is not None and other.better is not None and one.better + other.better == pytest.approx(1)
    assert paired(first, first, places).better == 0.5


def test_paired_leaves_out_what_either_lacks_and_has_no_interval_at_one_place():
    found = paired([1, math.nan, 1, 0], [0, 1, math.nan, 1], ["a", "a", "b", "b"])
    assert (found.difference, found.n) == (0, 2) and found.interval is not None
    alone = paired([1.0, 1.0], [0.0, 1.0], ["a", "a"])
    assert (alone.difference, alone.interval, alone.better) == (0.5, None, None)


def test_paired_by_class_weighs_classes_equally():
    first, second = [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]
    assert paired(first, second, range(4)).difference == 0.5
    assert paired(first, second, range(4), [*"aaab"]).difference == 0


def test_intervals_by_place_are_wider_than_by_image_and_rows_say_points():
    first, second, places = survey()
    assert width(mean_interval(first, places)) > 1.3 * width(mean_interval(first, np.arange(len(first))))
    row = survey_tables.over("test/ahead", "", paired(first, second, places))
    assert (row.unit, row.chance) == ("points", 0) and row.value == pytest.approx(100 * (first - second).mean())
    assert "of the resamples" in row.note
