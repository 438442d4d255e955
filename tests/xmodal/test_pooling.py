"""GPO against a slow reference in numpy: positions, GRU, softmax and sorting written out by loops."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.xmodal import tiny
from xmodal.pooling import GPO, Mean, MeanPooling, SortedPooling, build, positions
from xmodal.settings import SettingsError, fingerprint


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gru_states(gru: nn.GRU, inputs: np.ndarray, suffix: str) -> list[np.ndarray]:
    """Hidden states of one direction over inputs (n, d), by the equations of Cho et al. (2014) as torch has them."""
    w_in, w_hid, b_in, b_hid = (
        getattr(gru, f"{name}_l0{suffix}").detach().double().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state, found = np.zeros(w_hid.shape[1]), []
    for one in inputs:
        given, held = np.split(w_in @ one + b_in, 3), np.split(w_hid @ state + b_hid, 3)
        reset, update = sigmoid(given[0] + held[0]), sigmoid(given[1] + held[1])
        new = np.tanh(given[2] + reset * held[2])
        state = (1 - update) * new + update * state
        found.append(state)
    return found


def reference(pool: SortedPooling, rows: np.ndarray) -> np.ndarray:
    """The pooled vector of n tokens (n, W)."""
    count, width = len(rows), pool.position_dim
    codes = np.zeros((count, width))
    for place in range(count):
        for pair in range(width // 2):
            angle = place / 10000 ** (2 * pair / width)
            codes[place, 2 * pair], codes[place, 2 * pair + 1] = math.sin(angle), math.cos(angle)
    forward = gru_states(pool.gru, codes, "")
    backward = gru_states(pool.gru, codes[::-1], "_reverse")[::-1]
    score = pool.score.weight.detach().double().numpy()[0]
    scores = np.array([score @ ((a + b) / 2) for a, b in zip(forward, backward, strict=True)]) / pool.temperature
    theta = np.exp(scores - scores.max())
    theta /= theta.sum()
    return np.sum([theta[k] * np.sort(rows, axis=0)[::-1][k] for k in range(count)], axis=0)


def test_it_is_the_formula_whatever_stands_at_masked_places() -> None:
    torch.manual_seed(0)
    pool = build(GPO(kind="gpo", position_dim=6, hidden=5))
    assert isinstance(pool, SortedPooling)
    tokens, lengths = torch.randn(5, 7, 4), [7, 3, 1, 3, 0]
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    found = pool(tokens.masked_fill(~mask[..., None], 1e6), mask).detach().numpy()
    for row, length in enumerate(lengths[:4]):
        wanted = reference(pool, tokens[row, :length].double().numpy())
        assert np.abs(found[row] - wanted).max() < 1e-5
    assert (found[4] == 0).all(), "no token"


def test_the_order_of_tokens_and_the_length_of_padding_change_nothing() -> None:
    pool = build(GPO(kind="gpo"))
    tokens, mask = torch.randn(3, 6, 8), torch.arange(6) < torch.tensor([[6], [4], [2]])
    torch.testing.assert_close(
        pool(tokens[:, torch.tensor([5, 3, 1, 0, 2, 4])], mask[:, [5, 3, 1, 0, 2, 4]]), pool(tokens, mask)
    )
    longer = torch.cat([tokens, torch.randn(3, 5, 8)], dim=1)
    torch.testing.assert_close(pool(longer, torch.cat([mask, torch.zeros(3, 5).bool()], dim=1)), pool(tokens, mask))


def test_equal_weights_are_the_mean() -> None:
    pool = build(GPO(kind="gpo"))
    assert isinstance(pool, SortedPooling)
    nn.init.zeros_(pool.score.weight)
    tokens, mask = torch.randn(3, 6, 8), torch.arange(6) < torch.tensor([[6], [4], [1]])
    torch.testing.assert_close(pool(tokens, mask), Mean()(tokens, mask))


def test_gradients_reach_tokens_and_weights_and_are_finite() -> None:
    pool = build(GPO(kind="gpo"))
    tokens = torch.randn(3, 6, 8, requires_grad=True)
    pool(tokens, torch.arange(6) < torch.tensor([[6], [4], [0]])).square().sum().backward()
    assert tokens.grad is not None and tokens.grad.isfinite().all() and (tokens.grad[2] == 0).all()
    assert all(one.grad is not None and one.grad.isfinite().all() and one.grad.any() for one in pool.parameters())


def test_no_rows_and_one_token() -> None:
    pool = build(GPO(kind="gpo"))
    nothing = pool(torch.zeros(0, 4, 8), torch.zeros(0, 4, dtype=torch.bool))
    nothing.sum().backward()
    assert nothing.shape == (0, 8) and all(one.grad is not None for one in pool.parameters())
    token = torch.randn(2, 1, 8)
    torch.testing.assert_close(pool(token, torch.ones(2, 1, dtype=torch.bool)), token[:, 0])


def test_positions_are_sines_and_cosines_in_turn() -> None:
    codes = positions(4, 4)
    assert codes[0].tolist() == [0, 1, 0, 1]
    assert codes[3].tolist() == pytest.approx([math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)], abs=1e-6)


def test_the_default_is_the_mean_bit_by_bit_and_changes_no_fingerprint() -> None:
    plain, named = tiny.settings(), tiny.settings(pooling={"kind": "mean"}, text_head=None)
    assert fingerprint({"model": plain}) == fingerprint({"model": named}) and "pooling" not in plain.model_fields_set
    assert torch.equal(tiny.model()(tiny.batch(4))["itc"], tiny.model(pooling={"kind": "mean"})(tiny.batch(4))["itc"])
    assert not any("pool" in name for name in tiny.model().state_dict())
    assert isinstance(build(MeanPooling(kind="mean")), Mean)


def test_other_weights_start_as_without_it() -> None:
    plain, pooled = tiny.model(), tiny.model(pooling={"kind": "gpo", "position_dim": 4, "hidden": 4})
    weights = pooled.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())
    optimizer = torch.optim.SGD(pooled.parameters(), 0.1)
    pool = pooled.key.encoder.text.head.pool
    assert isinstance(pool, SortedPooling)
    before = pool.score.weight.clone()
    tiny.step(pooled, optimizer, tiny.batch(4))
    assert not torch.equal(before, pool.score.weight), "the key encoder follows"


def test_a_wrong_kind_is_one_line() -> None:
    with pytest.raises(SettingsError, match=r"pooling\.kind: 'max' is no known kind; allowed: mean, gpo"):
        tiny.settings(pooling={"kind": "max"})
