"""Drift, leak, neighbours, age, CKA: closed forms, slow references, and what random vectors give."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.metrics import versions


def unit(rows: int, width: int = 8, seed: int = 0) -> Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_drift_is_one_minus_the_cosine() -> None:
    stored, now = unit(20), unit(20, seed=1)
    assert np.allclose(versions.drift(stored, now), 1 - (stored * now).sum(1).numpy(), atol=1e-6)
    near = normalize(stored.double() + 1e-6 * unit(20, seed=2), dim=1)
    assert 0 < versions.drift(stored.double(), near).mean() < 1e-11  # what float32 products cannot tell from 0


@given(st.lists(st.integers(0, 5), max_size=6), st.lists(st.integers(0, 5), max_size=6))
def test_auc_counts_pairs(positive: list[int], negative: list[int]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in positive for b in negative]
    found = versions.auc(torch.tensor(positive).float(), torch.tensor(negative).float())
    assert math.isnan(found) if not pairs else found == pytest.approx(np.mean(pairs))


def test_ridge_is_weighted_least_squares() -> None:
    """With weights as repetitions, and against the normal equations written out."""
    points, targets = torch.randn(9, 3, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64)
    counts = torch.tensor([1.0, 2, 1, 3, 1, 1, 2, 1, 1], dtype=torch.float64)
    weights, offsets = versions.ridge(points, targets, counts)
    rows = np.repeat(np.arange(9), counts.int().numpy())
    x, y = points.numpy()[rows], targets.numpy()[rows]
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    strength = versions.RIDGE * np.trace(covariance) / 3
    wanted = np.linalg.inv(covariance + strength * np.eye(3)) @ centred.T @ (y - y.mean(0)) / len(x)
    assert np.allclose(weights.numpy(), wanted, atol=1e-9)
    assert np.allclose(offsets.numpy(), y.mean(0) - x.mean(0) @ wanted, atol=1e-9)


def test_random_vectors_do_not_leak_their_version() -> None:
    steps = torch.arange(1000) // 50
    assert abs(versions.version_leak(unit(1000, seed=3), steps) - 0.5) < 0.06


def test_vectors_that_move_with_the_step_leak_it() -> None:
    steps = torch.arange(1000) // 50
    moving = unit(1000) + 2.0 * (steps[:, None] / 20) * unit(1, seed=4)
    assert versions.version_leak(normalize(moving, dim=1), steps) > 0.8
    shuffled = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert versions.version_leak(moving[shuffled], steps[shuffled]) > 0.8


def test_the_leak_of_one_step_is_not_defined() -> None:
    assert math.isnan(versions.version_leak(unit(10), torch.zeros(10))) and math.isnan(
        versions.version_leak(unit(0), torch.zeros(0))
    )


def test_jaccard_by_sets() -> None:
    stored, now, k = unit(15), unit(15, seed=1), 4
    wanted = []
    for n in range(15):
        first, second = (
            set(sorted((m for m in range(15) if m != n), key=lambda m, one=one: -float(one[n] @ one[m]))[:k])
            for one in (stored, now)
        )
        wanted.append(len(first & second) / len(first | second))
    assert np.allclose(versions.neighbour_jaccard(stored, now, k), wanted)
    assert (versions.neighbour_jaccard(stored, stored) == 1).all()


def test_chance_of_jaccard() -> None:
    generator, found = np.random.default_rng(0), []
    for _ in range(4000):
        first, second = (set(generator.choice(14, 4, replace=False)) for _ in range(2))
        found.append(len(first & second) / len(first | second))
    assert versions.chance_jaccard(15, 4) == pytest.approx(np.mean(found), abs=0.01)
    assert versions.chance_jaccard(5, 10) == 1


def test_the_age_slope_is_numpys_line() -> None:
    queries, keys, ages = unit(5), unit(12, seed=1), torch.arange(12) // 3
    negative = torch.rand(5, 12, generator=torch.Generator().manual_seed(2)) < 0.6
    x = np.broadcast_to(ages.numpy(), (5, 12))[negative.numpy()]
    y = (queries.double() @ keys.double().T).numpy()[negative.numpy()]
    assert versions.age_slope(queries, keys, ages, negative) == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-6)
    assert math.isnan(versions.age_slope(queries, keys, torch.ones(12), negative))


def test_cka_by_the_centred_kernels() -> None:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with linear kernels (Kornblith et al., eq. 1-2)."""
    first, second = unit(30), unit(30, width=5, seed=1)
    centre = np.eye(30) - 1 / 30
    kernels = [centre @ one.double().numpy() @ one.double().numpy().T @ centre for one in (first, second)]
    wanted = (kernels[0] * kernels[1]).sum() / np.sqrt((kernels[0] ** 2).sum() * (kernels[1] ** 2).sum())
    assert versions.linear_cka(first, second) == pytest.approx(wanted, rel=1e-6)


def test_cka_knows_no_rotation_or_scale() -> None:
    first = unit(40)
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    assert versions.linear_cka(first, 3 * first.double() @ rotation + 1) == pytest.approx(1)
    assert math.isnan(versions.linear_cka(first, torch.ones(40, 3)))
    assert 0 < versions.chance_cka(first, first) < 0.5
