"""Gathers against a single process: order, uneven shares, exact gradients."""

import pytest
import torch
from torch import Tensor

from tests.xmodal import tiny
from tests.xmodal.world import World
from xmodal import distributed

SHARES = {
    "even": [[0, 3], [1, 4], [2, 5]],
    "uneven": [[4, 0, 2], [5], [1, 3]],
    "empty": [[], [5, 4, 3, 2, 1, 0]],
    "alone": [[3, 0, 5, 1, 4, 2]],
}


def columns(slots: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Rows that are functions of their slot, of every type that is gathered."""
    slot = torch.tensor(slots, dtype=torch.int64)
    return slot, {
        "vector": torch.sin(slot[:, None] * torch.arange(1, 4)),
        "id": slot * 2**40 - 3,
        "codes": (slot[:, None] - torch.arange(2)).to(torch.int32),
        "valid": slot % 2 == 0,
        "nothing": torch.zeros(len(slot), 0, dtype=torch.int32),
    }


def gathered(shares: list[list[int]]) -> tuple[dict[str, Tensor], Tensor, int, list[int], Tensor]:
    slot, rows = columns(shares[distributed.rank()])
    found = distributed.Gatherer()(slot, rows, [7 - distributed.rank()])
    tokens = found.layout.gather(slot[:, None, None].float().expand(-1, 2, 2))
    return found.columns, found.layout.own, found.layout.rows, found.longest, tokens


@pytest.mark.parametrize("name", SHARES)
def test_every_rank_sees_the_global_batch_in_its_order(world: World, name: str) -> None:
    shares = SHARES[name]
    _, whole = columns(list(range(6)))
    for rank, (rows, own, count, longest, tokens) in enumerate(world.run(len(shares), gathered, shares)):
        for column, wanted in whole.items():
            assert rows[column].dtype == wanted.dtype and torch.equal(rows[column], wanted), column
        assert own.tolist() == shares[rank] and count == 6 and longest == [7]
        assert tokens[:, 1, 1].tolist() == [0, 1, 2, 3, 4, 5]


def changing(lengths: list[list[int]]) -> list[tuple[int, list[int]]]:
    """By how much the longest share grew in each step, and the rows that came of it, where ranks hold so many."""
    gatherer, found = distributed.Gatherer(), []
    for held in lengths:
        slot, rows = columns(list(range(sum(held[: distributed.rank()]), sum(held[: distributed.rank() + 1]))))
        room = gatherer.room
        slots = gatherer(slot, rows, []).columns["id"]
        found.append((gatherer.room - room, ((slots + 3) // 2**40).tolist()))
    return found


def test_rows_come_right_however_shares_change(world: World) -> None:
    """A share that grew is sent again; one that shrank, or is empty, is padded."""
    lengths = [[2, 3], [3, 3], [0, 1], [5, 0], [2, 2], [0, 0], [1, 6]]
    for told in world.run(2, changing, lengths):
        assert [rows for _, rows in told] == [list(range(sum(held))) for held in lengths]
        assert [grown for grown, _ in told] == [3, 0, 0, 2, 0, 0, 1]


def loss(weight: Tensor, mine: list[int], rows: Tensor, others: Tensor) -> Tensor:
    """Rows of this rank against all rows, both functions of the weight; odd rows count."""
    vectors = torch.tanh(rows @ weight)
    pairs = torch.tanh(vectors @ others.T).square().sum(1)
    return distributed.global_mean(pairs, torch.tensor([n % 2 == 1 for n in mine], dtype=torch.bool))


def gradient(shares: list[list[int]]) -> tuple[Tensor, Tensor]:
    mine = shares[distributed.rank()]
    slot, rows = columns(mine)
    weight = torch.eye(3).requires_grad_()
    layout = distributed.Gatherer()(slot, rows, []).layout
    value = loss(weight, mine, rows["vector"], layout.gather_with_grad(torch.tanh(rows["vector"] @ weight)))
    value.backward()
    assert weight.grad is not None
    mean = distributed.sum_across(weight.grad) / distributed.world_size()  # as DistributedDataParallel averages
    return distributed.sum_across(value) / distributed.world_size(), mean


@pytest.mark.parametrize("name", SHARES)
def test_the_gradient_is_that_of_the_global_batch(world: World, name: str) -> None:
    _, whole = columns(list(range(6)))
    weight = torch.eye(3).requires_grad_()
    expected = loss(weight, list(range(6)), whole["vector"], torch.tanh(whole["vector"] @ weight))
    expected.backward()
    for value, mean in world.run(len(SHARES[name]), gradient, SHARES[name]):
        assert torch.allclose(value, expected.detach(), atol=1e-6)
        assert weight.grad is not None and torch.allclose(mean, weight.grad, atol=1e-6)


def objects() -> list[int]:
    return distributed.gather_objects(10 * distributed.rank())


def test_objects_come_in_rank_order(world: World) -> None:
    assert world.run(3, objects) == [[0, 10, 20]] * 3


def alike(odd: dict[str, float]) -> str:
    """What the comparison says where the last rank's values differ by what `odd` says."""
    none = tiny.model(queue={"size": 0}).queue.state()
    held = tiny.model().replicated() | {f"no {name}": column for name, column in none.items()}
    for name, value in odd.items():
        if distributed.rank() == distributed.world_size() - 1:
            held[name].reshape(-1)[0] += value
    try:
        distributed.check_alike(held)
    except distributed.Diverged as error:
        return str(error)
    return ""


@pytest.mark.parametrize("odd", [{}, {"queue.text": 1e-6}, {"queue.sample_id": 1, "key.image.encoder.position": 1e-6}])
def test_what_every_rank_must_hold_alike_is_compared(world: World, odd: dict[str, float]) -> None:
    said = world.run(2, alike, odd)
    wanted = f"{next(iter(odd))} and {len(odd) - 1} more are no longer the same on every worker" if odd else ""
    assert said == [wanted] * 2


def test_without_a_group_everything_is_the_identity() -> None:
    value = torch.arange(3.0)
    assert not distributed.is_active() and distributed.rank() == 0 and distributed.world_size() == 1
    assert torch.equal(distributed.sum_across(value), value) and distributed.gather_objects("x") == ["x"]
    rows, own, count, longest, _ = gathered([[2, 0, 1]])
    assert rows["id"].tolist() == [-3, 2**40 - 3, 2**41 - 3]
    assert own.tolist() == [2, 0, 1] and count == 3 and longest == [7]


def test_a_mean_of_nothing_is_zero_with_a_graph() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    mean = distributed.global_mean(values, torch.tensor([False, False]))
    mean.backward()
    assert float(mean.detach()) == 0 and values.grad is not None and values.grad.tolist() == [0, 0]


def test_one_process_without_a_row_gathers_nothing() -> None:
    found = distributed.Gatherer()(torch.empty(0, dtype=torch.int64), {"keys": torch.empty(0, 3)}, [5])
    assert found.columns["keys"].shape == (0, 3) and found.layout.sizes == (0,) and found.longest == [5]
