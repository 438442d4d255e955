"""What the training loop decides by itself: the learning rate, and when to stop."""

import math

import pytest

from pipelines.errors import NonFinite
from pipelines.train.loop import check_finite, learning_rate
from pipelines.train.settings import OptimizerSettings


def test_a_loss_that_is_not_finite_is_named_with_its_step() -> None:
    check_finite({"itc": 1.0, "lm": 0.0}, 7)
    with pytest.raises(NonFinite, match="the loss of itm, lm is not finite at step 7"):
        check_finite({"itc": 1.0, "itm": math.nan, "lm": math.inf}, 7)


def test_the_rate_rises_to_its_peak_and_falls_to_its_end() -> None:
    settings = OptimizerSettings(learning_rate=0.1, warmup_fraction=0.1, final_fraction=0.01)
    rates = [learning_rate(settings, samples, 1000) for samples in range(0, 1001, 10)]
    assert rates[0] == 0 and rates[10] == pytest.approx(0.1) and rates[-1] == pytest.approx(0.001)
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(settings, 550, 1000) == pytest.approx(0.1 * (0.01 + 0.99 / 2))
