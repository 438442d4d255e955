"""What the training loop decides by itself: the learning rate, and when to stop."""

import math

import pytest

from pipelines.errors import NonFinite
from pipelines.train.descent import check_finite, learning_rate, parameter_groups, rate_factors
from pipelines.train.settings import OptimizerSettings
from tests.xmodal import tiny


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


def test_a_rate_that_drops_is_the_peak_and_then_a_tenth() -> None:
    settings = OptimizerSettings(learning_rate=0.1, warmup_fraction=0, drop_at=0.5)
    rates = [learning_rate(settings, samples, 1000) for samples in range(0, 1001, 10)]
    assert rates[:50] == [0.1] * 50 and rates[50:] == pytest.approx([0.01] * 51)


@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_every_parameter_is_in_one_group_and_the_text_encoder_may_have_its_own(factor: float) -> None:
    model, settings = tiny.model(), OptimizerSettings(weight_decay=0.3, text_factor=factor)
    groups, factors = parameter_groups(model, settings), rate_factors(settings)
    pairs = [(one, group, own) for group, own in zip(groups, factors, strict=True) for one in group["params"]]
    found = {id(one): (group["weight_decay"], own) for one, group, own in pairs}
    wanted = {
        id(one): (0.0 if one.ndim < 2 else 0.3, factor if name.startswith("query.text.encoder.") else 1.0)
        for name, one in model.named_parameters()
        if one.requires_grad
    }
    assert found == wanted and sum(len(group["params"]) for group in groups) == len(wanted)
    assert len(groups) == (2 if factor == 1.0 else 4)
