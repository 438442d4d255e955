"""A gradient that explodes: told, survived where it passes, and the end of the run where it stays."""

import math

import pytest

from pipelines.errors import Failed, NonFinite
from pipelines.train.gradients import FACTOR, LEAST, PATIENCE, GradientWatch


def usual(norm: float = 2.0) -> GradientWatch:
    watch = GradientWatch()
    assert all(watch.look(norm, step) == {} for step in range(LEAST))
    return watch


def test_one_that_is_not_finite_ends_the_run() -> None:
    for norm in (math.nan, math.inf):
        with pytest.raises(NonFinite, match="the gradient is not finite at step 7"):
            GradientWatch().look(norm, 7)


def test_a_large_one_is_told_and_changes_nothing() -> None:
    watch = usual()
    assert watch.look(2 * FACTOR, 20) == {}
    assert watch.look(6 * FACTOR, 21) == {"gradient": "300 times the usual"}
    assert watch.look(2.0, 22) == {} and watch.look(6 * FACTOR, 23) == {"gradient": "300 times the usual"}


def test_those_that_stay_large_end_the_run_by_name() -> None:
    watch = usual()
    for step in range(PATIENCE - 1):
        assert watch.look(1e6, step)
    with pytest.raises(Failed, match=r"over 100 times its usual norm of 2 for 20 steps, up to step 40 .*learning_rate"):
        watch.look(1e6, 40)


def test_what_is_large_before_anything_is_usual_is_not() -> None:
    watch = GradientWatch()
    assert [watch.look(10.0**step, step) for step in range(LEAST)] == [{}] * LEAST
