"""The difference hash: a slow reference, what it does not see, and distances."""

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from xmodal.look import difference_hash, distance


def slow(pixels: np.ndarray) -> tuple[int, float]:
    """For sides that 9 and 8 divide: the mean of each cell, and whether it is brighter than the one to its left; then
    the least difference of two such."""
    grey = pixels.mean(0)
    high, wide = grey.shape[0] // 8, grey.shape[1] // 9
    value, least = 0, np.inf
    for row in range(8):
        means = [grey[row * high : (row + 1) * high, col * wide : (col + 1) * wide].mean() for col in range(9)]
        for col in range(8):
            value = 2 * value + int(means[col + 1] > means[col])
            least = min(least, abs(means[col + 1] - means[col]))
    return value - 2**64 if value >= 2**63 else value, least


@given(st.integers(0, 10**6))
def test_it_is_the_slow_one(seed: int):
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 16, 18), dtype=np.uint8)
    want, least = slow(pixels)
    assume(least > 1e-3)
    assert difference_hash(torch.from_numpy(pixels)) == want


def test_brightness_and_contrast_change_nothing():
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 100, (3, 72, 72), dtype=np.uint8))
    assert difference_hash(pixels * 2 + 10) == difference_hash(pixels)


@given(st.integers(-(2**63), 2**63 - 1), st.sets(st.integers(0, 63)))
def test_distance_counts_the_bits_that_differ(value: int, flipped: set[int]):
    other = (value % 2**64) ^ sum(1 << bit for bit in flipped)
    assert distance(value, other - 2**64 if other >= 2**63 else other) == len(flipped)
