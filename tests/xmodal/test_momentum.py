"""The key encoder follows the query encoder, and nothing else moves it."""

import math

import pytest
import torch
from torch import nn

from xmodal.momentum import MomentumSettings
from xmodal.settings import differences
from xmodal.temperature import TemperatureSettings


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).to(dtype)


def test_it_starts_equal_without_gradient_and_in_evaluation_mode() -> None:
    query = network()
    key = MomentumSettings().build(query)
    key.train()
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(key.encoder.parameters(), query.parameters(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in key.parameters())
    assert not any(module.training for module in key.modules())
    assert all(parameter.requires_grad for parameter in query.parameters())


def test_key_dropout_follows_the_mode_of_training() -> None:
    key = MomentumSettings(key_dropout=True).build(network())
    assert not key.encoder.training and key.train().encoder.training and not key.eval().encoder.training


def test_the_average_is_the_formula() -> None:
    query = network()
    key = MomentumSettings(coefficient=0.9, warmup=1).build(query)
    expected = [parameter.detach().double().clone() for parameter in query.parameters()]
    for step in range(5):
        for parameter in query.parameters():
            parameter.data.add_(torch.randn_like(parameter))
        key.follow(step)
        expected = [
            0.9 * old + 0.1 * new.detach().double() for old, new in zip(expected, query.parameters(), strict=True)
        ]
    for mean, wanted in zip(key.encoder.parameters(), expected, strict=True):
        assert torch.allclose(mean.double(), wanted, atol=1e-6)


def test_buffers_are_copied() -> None:
    query = network()
    key = MomentumSettings().build(query)
    query(torch.randn(8, 3))
    key.follow(0)
    for copied, buffer in zip(key.encoder.buffers(), query.buffers(), strict=True):
        assert torch.equal(copied, buffer)


def test_warm_up_ends_at_the_coefficient() -> None:
    settings = MomentumSettings(coefficient=0.99, warmup=10)
    assert [settings.at(step) for step in (0, 8, 90)] == [0.1, 0.5, 0.91]
    assert settings.at(10_000) == 0.99 and MomentumSettings(coefficient=0.99).at(0) == 0.99


def test_along_the_cosine_it_rises_to_1() -> None:
    """MoCo v3: m_t = 1 - 0.5 (1 + cos(pi t / T)) (1 - m0); off it is the coefficient itself, bit for bit."""
    settings = MomentumSettings(coefficient=0.99, cosine=200)
    for step in (0, 1, 50, 100, 199, 200):
        wanted = 1 - 0.5 * (1 + math.cos(math.pi * step / 200)) * (1 - 0.99)
        assert settings.at(step) == pytest.approx(wanted, abs=1e-12)
    assert settings.at(100) == pytest.approx(0.995) and settings.at(1000) == 1
    for coefficient in (0.99, 0.995, 0.999, 1 / 3):
        assert {MomentumSettings(coefficient=coefficient).at(step) for step in range(50)} == {coefficient}
    assert differences(MomentumSettings(cosine=0)) == {}


@pytest.mark.parametrize("coefficient", [0.99, 0.999, 0.9999])
def test_a_bfloat16_query_moves_the_float32_average(coefficient: float) -> None:
    query = network(torch.bfloat16)
    key = MomentumSettings(coefficient=coefficient, warmup=1).build(query)
    before = key.encoder.get_parameter("0.weight").clone()
    target = before * 1.05
    query.get_parameter("0.weight").data.copy_(target)
    steps = 1000
    for step in range(steps):
        key.follow(step)
    moved = (key.encoder.get_parameter("0.weight") - before).norm() / (target - before).norm()
    assert float(moved) == pytest.approx(1 - coefficient**steps, rel=0.1)
    assert key.encoder.get_parameter("0.weight").dtype == torch.float32


def test_reset_makes_both_equal() -> None:
    query = network()
    key = MomentumSettings().build(query)
    query.get_parameter("0.weight").data.add_(1)
    key.reset()
    assert torch.equal(key.encoder.get_parameter("0.weight"), query.get_parameter("0.weight"))


def test_staleness_of_published_settings() -> None:
    assert MomentumSettings(coefficient=0.999).staleness(65536 // 256, 1000) == pytest.approx(0.23, abs=0.005)
    assert MomentumSettings(coefficient=0.995).staleness(65536 // 512, 1000) == pytest.approx(0.47, abs=0.005)


@pytest.mark.parametrize(("warmup", "cosine"), [(1, 0), (10, 0), (1, 20)])
def test_staleness_is_what_the_key_encoder_has_really_moved(warmup: int, cosine: int) -> None:
    """From weights 0 towards a query of 1, the average holds the share that has moved."""
    settings, query = MomentumSettings(coefficient=0.9, warmup=warmup, cosine=cosine), network()
    key = settings.build(query)
    for average, latest in zip(key.encoder.parameters(), query.parameters(), strict=True):
        average.zero_()
        latest.data.fill_(1)
    for step in range(7, 15):
        key.follow(step)
    for average in key.encoder.parameters():
        assert torch.allclose(average, torch.full_like(average, settings.staleness(8, 15)), atol=1e-6)
    assert settings.staleness(30, 15) == settings.staleness(15, 15)  # no key is older than the run


def test_the_temperature_is_clamped_after_the_step() -> None:
    temperature = TemperatureSettings(initial=0.07).build()
    assert temperature.scaled(torch.tensor(0.14)).item() == pytest.approx(2)
    for value, clamped in ((9.0, 0.5), (1e-6, 0.001), (0.2, 0.2)):
        temperature.log.data.fill_(math.log(value))
        temperature.clamp()
        assert temperature.value.item() == pytest.approx(clamped)
    assert not TemperatureSettings(learnable=False).build().log.requires_grad
