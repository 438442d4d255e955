"""Class-balanced draws: quotas, rounds through a class, and visits that count on over epochs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.train.sampling import ClassSampling

labels = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@settings(max_examples=50, deadline=None)
@given(labels, st.integers(0, 3))
def test_power_one_draws_every_row_once_and_visits_are_epochs(label: np.ndarray, epoch: int) -> None:
    drawn = ClassSampling(label, 1.0, seed=3).epoch(epoch)
    assert drawn.tolist() == [[row, epoch] for row in range(len(label))]


@settings(max_examples=50, deadline=None)
@given(labels, st.floats(0, 1))
def test_an_epoch_has_as_many_draws_as_rows_whatever_the_power(label: np.ndarray, power: float) -> None:
    sampling = ClassSampling(label, power, seed=0)
    sizes = np.unique(label, return_counts=True)[1]
    asked = sizes**power / (sizes**power).sum() * len(label)
    assert sampling.quotas.sum() == len(label) and (abs(sampling.quotas - asked) < 1).all()
    assert len(sampling.epoch(0)) == len(label)


@settings(max_examples=50, deadline=None)
@given(labels, st.floats(0, 1))
def test_no_row_comes_again_before_all_others_of_its_class(label: np.ndarray, power: float) -> None:
    sampling = ClassSampling(label, power, seed=1)
    drawn = np.concatenate([sampling.epoch(epoch) for epoch in range(6)])
    assert len(np.unique(drawn, axis=0)) == len(drawn), "a row is drawn once in each of its visits"
    for name in np.unique(label):
        visits = np.bincount(drawn[:, 0], minlength=len(label))[label == name]
        assert visits.max() - visits.min() <= 1


def test_power_zero_draws_a_rare_class_as_often_as_a_common_one() -> None:
    sampling = ClassSampling(np.array([0] * 90 + [1] * 10), 0.0, seed=0)
    assert sampling.quotas.tolist() == [50, 50]
    rare = [row for row, _ in sampling.epoch(0).tolist() if row >= 90]
    assert len(rare) == 50 and set(np.bincount(rare)[90:]) == {5}


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_draws_depend_on_the_seed_and_the_epoch_alone(power: float) -> None:
    label = np.arange(40) % 3
    again = ClassSampling(label, power, seed=2).epoch(5)
    assert (ClassSampling(label, power, seed=2).epoch(5) == again).all()
