"""Shape of the space: slow references, closed forms and simulated chance."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from xmodal.metrics import intervals, space


def cloud(rows: int, width: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_alignment_and_its_chance():
    image, text = cloud(60, 8, 0), normalize(cloud(60, 8, 0) + 0.3 * cloud(60, 8, 1), dim=1)
    slow = [
        sum((a - b) ** 2 for a, b in zip(f, e, strict=True)) for f, e in zip(image.tolist(), text.tolist(), strict=True)
    ]
    assert space.alignment(image, text) == pytest.approx(np.array(slow), abs=1e-6)
    every = [float((image[i] - text[j]).square().sum()) for i in range(60) for j in range(60)]
    assert space.chance_alignment(image, text) == pytest.approx(np.mean(every), abs=1e-5)


def test_uniformity_equals_the_double_loop_and_its_floor_the_even_sphere():
    points = cloud(40, 5, 2)
    slow = [
        math.exp(-2 * float((points[i] - points[j]).square().sum())) for i in range(40) for j in range(40) if i != j
    ]
    assert space.uniformity(points) == pytest.approx(math.log(np.mean(slow)), abs=1e-6)
    assert space.uniformity(cloud(3000, 6, 3)) == pytest.approx(space.uniformity_floor(6), abs=0.02)
    assert space.uniformity(torch.ones(10, 4) / 2) == pytest.approx(0, abs=1e-9)
    assert math.isnan(space.uniformity(cloud(1, 4, 0)))


def test_gap_and_what_swapping_gives():
    image, text = cloud(200, 6, 4), cloud(200, 6, 5)
    assert space.modality_gap(image, image) == 0
    generator, squares = np.random.default_rng(0), []
    for _ in range(400):
        swap = torch.from_numpy(generator.random((200, 1)) < 0.5)
        one, other = torch.where(swap, text, image), torch.where(swap, image, text)
        squares.append(space.modality_gap(one, other) ** 2)
    assert math.sqrt(np.mean(squares)) == pytest.approx(space.chance_modality_gap(image, text), rel=0.08)


def test_intervals_resample_groups_as_written_out():
    image, text, groups = cloud(24, 5, 10), cloud(24, 5, 11), np.arange(24) // 4
    uniformities, gaps = [], []
    for draw in intervals.resample(6, 40, 3).astype(int):
        rows = np.repeat(np.arange(24), draw[groups])
        kept = [math.exp(-2 * float((image[a] - image[b]).square().sum())) for a in rows for b in rows if a != b]
        uniformities.append(math.log(np.mean(kept)))
        gaps.append(space.modality_gap(image[rows], text[rows]))
    ends = [0.025, 0.975]
    assert space.uniformity_interval(image, groups, 40, 3) == pytest.approx(np.quantile(uniformities, ends), abs=1e-6)
    squares = np.square(gaps) - (np.mean(np.square(gaps)) - space.modality_gap(image, text) ** 2)
    corrected = np.quantile(np.sqrt(squares.clip(0)), ends)
    assert space.modality_gap_interval(image, text, groups, 40, 3) == pytest.approx(corrected, abs=1e-6)
    assert (
        space.uniformity_interval(image, [0] * 24) is None
        and space.modality_gap_interval(image, text, [0] * 24) is None
    )


def test_effective_rank_counts_equal_directions():
    assert space.effective_rank(torch.eye(7)) == pytest.approx(7)
    assert space.effective_rank(torch.ones(5, 3)) == pytest.approx(1)
    assert space.chance_rank(400, 6) == pytest.approx(space.effective_rank(cloud(400, 6, 12)), rel=0.02)


def test_the_interval_of_the_rank_leaves_out_one_group_after_the_other():
    points, groups = cloud(24, 5, 13), np.arange(24) // 4
    left = [space.effective_rank(points[torch.from_numpy(groups != one)]) for one in range(6)]
    half = 2.5706 * math.sqrt(5 / 6 * sum((one - np.mean(left)) ** 2 for one in left))  # t of 5 degrees of freedom
    whole = space.effective_rank(points)
    assert space.effective_rank_interval(points, groups) == pytest.approx((whole - half, whole + half), abs=1e-3)
    assert space.effective_rank_interval(points, [0] * 24) is None


def test_i_nce_saturates_at_log_n_and_is_at_most_zero_when_guessing():
    eye = torch.eye(16)
    assert space.i_nce(eye, eye, 16, 0.01).mean() == pytest.approx(math.log(16))
    same = torch.ones(16, 4) / 2
    assert space.i_nce(same, same, 8, 0.1).mean() == pytest.approx(0)
    assert space.i_nce(cloud(256, 8, 6), cloud(256, 8, 7), 64, 0.2).mean() < 0
    assert np.isnan(space.i_nce(cloud(50, 4, 0), cloud(50, 4, 1), 16, 0.1)).sum() == 2
    assert np.isfinite(space.i_nce(cloud(5, 4, 0), cloud(5, 4, 1), 256, 0.1)).all()


def test_best_temperature_beats_its_neighbours():
    image, text = cloud(128, 16, 8), normalize(cloud(128, 16, 8) + 1.5 * cloud(128, 16, 9), dim=1)
    best = space.best_temperature(image, text, 64)
    top = space.i_nce(image, text, 64, best).mean()
    assert all(space.i_nce(image, text, 64, best * scale).mean() <= top for scale in (0.4, 0.8, 1.25, 2.5))
