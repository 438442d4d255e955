"""Counter-based draws: against Python integers, and uniform enough to sample from."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from xmodal.draws import gumbel, hashed, uniform

WORD = 2**64 - 1


def mixed(x: int) -> int:
    """The finaliser of splitmix64 as published."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def reference(keys: list[int]) -> int:
    state = 0
    for key in keys:
        state = mixed(((state + 0x9E3779B97F4A7C15) & WORD) ^ mixed(key & WORD))
    return state - 2**64 if state >= 2**63 else state


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_the_hash_is_splitmix(keys: list[int]) -> None:
    assert int(hashed(*(torch.tensor(key) for key in keys))) == reference(keys)


def test_rows_and_columns_broadcast_to_the_pairwise_draws() -> None:
    rows, columns = torch.tensor([5, -7]), torch.tensor([1, 2, 3])
    table = hashed(3, rows[:, None], columns[None])
    assert table.tolist() == [[reference([3, row, column]) for column in (1, 2, 3)] for row in (5, -7)]
    assert table.unique().numel() == 6 and int(hashed(1, 2)) != int(hashed(2, 1))


def test_uniform_is_uniform_and_open() -> None:
    draws = uniform(1, torch.arange(100_000))
    counts = torch.histc(draws.float(), 100, 0, 1)
    assert draws.min() > 0 and draws.max() < 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 149  # chi-square of 99 degrees of freedom, p = 0.001


def test_gumbel_argmax_draws_in_proportion() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0])
    chosen = (weights.log() + gumbel(7, torch.arange(20_000)[:, None], torch.arange(3)[None])).argmax(1)
    shares = torch.bincount(chosen, minlength=3) / 20_000
    assert torch.allclose(shares, weights / 8, atol=0.015)
