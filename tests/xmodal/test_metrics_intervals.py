"""Intervals against plain loops, known coverage and the cases that have none."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from xmodal.metrics import intervals
from xmodal.metrics.intervals import mean, mean_interval


def slow_means(values, groups, classes, draws, seed) -> np.ndarray:
    """Each resample written out: its rows are concatenated, then averaged class by class."""
    names = sorted({str(group) for group in groups})
    chosen = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    means = []
    for draw in chosen:
        rows = [i for pick in draw for i in range(len(values)) if str(groups[i]) == names[pick]]
        of_class: dict[str, list[float]] = {}
        for i in rows:
            of_class.setdefault(str(classes[i]), []).append(values[i])
        means.append(np.mean([np.mean(members) for members in of_class.values()]))
    return np.array(means)


@pytest.mark.parametrize("classes", [["a"] * 30, [*"aabbcc" * 5]])
def test_mean_interval_equals_resampling_row_by_row(classes):
    generator = np.random.default_rng(5)
    values, groups = generator.random(30), [f"place {i}" for i in generator.integers(0, 6, 30)]
    slow = slow_means(values, groups, classes, 80, 7)
    expected = np.quantile(slow, [0.025, 0.975])
    assert mean_interval(values, groups, classes, draws=80, seed=7) == pytest.approx(tuple(expected), abs=1e-6)


def test_macro_mean_weights_classes_equally_and_ignores_missing_rows():
    assert mean([1, 1, 1, 0], [*"aaab"]) == 0.5
    assert mean([1, 0, math.nan]) == 0.5
    assert math.isnan(mean([])) and math.isnan(mean([math.nan]))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(150):
        place = generator.normal(0, 1, 40)
        values = np.repeat(place, 4) + generator.normal(0, 0.3, 160)
        bounds = mean_interval(values, np.repeat(np.arange(40), 4), draws=300, seed=trial)
        assert bounds is not None
        covered += bounds.low <= 0 <= bounds.high
    assert 0.88 <= covered / 150 <= 0.99


def test_resampling_places_is_wider_than_pretending_images_are_independent():
    values, places = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 20), np.repeat(np.arange(6), 20)
    by_place, by_image = mean_interval(values, places), mean_interval(values, np.arange(120))
    assert by_place is not None and by_image is not None
    assert by_place.high - by_place.low > 3 * (by_image.high - by_image.low)


SHARES = [{"a": 0.5, "b": 0.5}, {"b": 1.0}, {"c": 0.25, "a": 0.75}, {"c": 1.0}, {"a": 1.0}]
"""What five texts have of their images at three places."""


def test_a_row_of_several_places_counts_by_its_share_in_each_that_is_drawn():
    values, weighted = np.array([0.9, 0.1, 0.4, math.nan, 0.6]), []
    for draw in np.random.default_rng(11).integers(0, 3, (200, 3)):
        drawn = ["abc"[pick] for pick in draw]
        weight = [sum(own.get(place, 0) for place in drawn) for own in SHARES]
        of = [n for n in range(5) if not math.isnan(values[n])]
        if total := sum(weight[n] for n in of):
            weighted.append(sum(weight[n] * values[n] for n in of) / total)
    found = mean_interval(values, SHARES, draws=200, seed=11)
    assert found == pytest.approx(tuple(np.quantile(weighted, [0.025, 0.975])))
    order = [3, 0, 4, 2, 1]
    turned = [dict(reversed(SHARES[n].items())) for n in order]
    assert mean_interval(values[order], turned, draws=200, seed=11) == pytest.approx(found)


def test_a_share_of_one_is_a_group():
    values, places = np.random.default_rng(2).random(30), [*"abcdef" * 5]
    whole = [{place: 1.0} for place in places]
    for interval in (mean_interval, intervals.median_interval):
        assert interval(values, whole) == interval(values, places)


def test_the_median_of_rows_of_several_places():
    """The first value at which the rows below it and itself have half of the weight."""
    values, medians = np.array([5.0, 1.0, 3.0, 2.0, 4.0]), []
    for draw in np.random.default_rng(4).integers(0, 3, (60, 3)):
        weight = [sum(own.get("abc"[pick], 0) for pick in draw) for own in SHARES]
        below = {value: sum(w for w, other in zip(weight, values, strict=True) if other <= value) for value in values}
        medians.append(min(value for value, reached in below.items() if reached >= sum(weight) / 2))
    assert intervals.median_interval(values, SHARES, 60, 4) == pytest.approx(
        tuple(np.quantile(medians, [0.025, 0.975]))
    )


@pytest.mark.parametrize("groups", [["here"] * 4, []])
def test_one_place_or_none_has_no_interval(groups):
    assert mean_interval([1.0] * len(groups), groups) is None
    assert intervals.median_interval([1.0] * len(groups), groups) is None


def test_one_place_left_after_missing_rows_has_no_interval():
    assert mean_interval([1, 0, math.nan], [1, 1, 2]) is None


def test_seed_decides_and_order_does_not():
    values, groups = np.random.default_rng(9).random(20), [i % 10 for i in range(20)]
    order = np.random.default_rng(1).permutation(20)
    shuffled = mean_interval(values[order], [groups[i] for i in order], seed=3)
    assert mean_interval(values, groups, seed=3) == pytest.approx(shuffled)
    assert mean_interval(values, groups, seed=3) != mean_interval(values, groups, seed=4)


def test_sum_is_resampled_together():
    values, groups = np.random.default_rng(3).random(50), list(range(50))
    once, thrice = mean_interval(values, groups), intervals.sum_interval([(values, groups)] * 3)
    assert once is not None
    assert thrice == pytest.approx((3 * once.low, 3 * once.high))


def test_median_interval_equals_the_median_of_each_resample():
    generator = np.random.default_rng(4)
    values, groups = generator.integers(1, 9, 25).astype(float), np.arange(25)
    drawn = intervals.resample(25, 60, 2).astype(int)
    order = intervals.number(groups)
    medians = [np.sort(np.repeat(values, draw[order]))[(25 - 1) // 2] for draw in drawn]
    assert intervals.median_interval(values, groups, 60, 2) == pytest.approx(
        tuple(np.quantile(medians, [0.025, 0.975]))
    )


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_equals_scipy(right, n):
    right = min(right, n)
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert intervals.wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_of_nothing_is_no_interval():
    assert intervals.wilson(0, 0) is None


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="one group a value"):
        mean_interval([1.0, 2.0], ["a"])


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(3).normal(size=12)
    found = intervals.jackknife_interval(lambda kept: float(values[kept].mean()), range(12))
    half = 2.2010 * values.std(ddof=1) / math.sqrt(12)
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-4)
    assert intervals.jackknife_interval(lambda kept: 0.0, [0] * 4) is None
