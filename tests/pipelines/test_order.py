"""The order of an epoch: every sample once, the same batches at any world size, exact continuation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.train.order import LaneOrder, Rows

sizes = st.tuples(st.integers(1, 300), st.integers(1, 4), st.integers(1, 6), st.integers(0, 5))


def order_of(count: int, lanes: int, lane_batch: int, seed: int, power: float = 1.0) -> LaneOrder:
    rows = Rows(
        np.repeat(np.arange(3), 200)[:count].astype(np.int32),
        np.tile(np.arange(200), 3)[:count].astype(np.int32),
        (np.arange(count) % 10 == 0).astype(np.int32),
    )
    return LaneOrder(rows, seed, lanes * lane_batch, lanes, window=2, class_power=power)


def epoch_batches(order: LaneOrder, epoch: int) -> list[list[tuple[int, bool]]]:
    """Every global batch of an epoch as (position, valid) by slot."""
    whole = order.epoch(epoch)
    lanes = [order.lane(whole, lane) for lane in range(order.lanes)]
    size = order.lane_batch
    return [
        [
            (int(p), bool(v))
            for positions, valid in lanes
            for (p, _), v in zip(positions[b * size :][:size], valid[b * size :][:size], strict=True)
        ]
        for b in range(order.batches)
    ]


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_each_sample_comes_once_an_epoch(shape: tuple[int, int, int, int]) -> None:
    order = order_of(*shape)
    batches = epoch_batches(order, epoch=1)
    seen = [position for batch in batches for position, valid in batch if valid]
    assert sorted(seen) == list(range(len(order.rows)))
    assert all(len(batch) == order.global_batch for batch in batches)
    assert all(valid for batch in batches[:-1] for _, valid in batch), "only the last batch is padded"


@settings(max_examples=40, deadline=None)
@given(sizes, st.floats(0, 1))
def test_padding_and_lanes_hold_whatever_is_drawn(shape: tuple[int, int, int, int], power: float) -> None:
    order = order_of(*shape, power=power)
    batches = epoch_batches(order, epoch=2)
    seen = sorted(position for batch in batches for position, valid in batch if valid)
    assert seen == order.sampling.epoch(2)[:, 0].tolist() and len(seen) == len(order.rows)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(1, 5), st.integers(0, 40))
def test_a_plan_continues_where_it_was_left(shape: tuple[int, int, int, int], chunk: int, step: int) -> None:
    order = order_of(*shape)
    epochs = 3
    step = min(step, epochs * order.batches)

    def steps(start: int) -> list[tuple[int, int]]:
        return [
            (item.epoch * order.batches + batch, item.lane)
            for item in order.plan(epochs, chunk, start)
            for batch in range(item.first_batch, item.first_batch + item.batches)
        ]

    assert sorted(steps(step)) == sorted(one for one in steps(0) if one[0] >= step)


def test_chunks_hold_their_place_when_a_run_resumes() -> None:
    order = order_of(120, 2, 4, 0)
    whole, rest = list(order.plan(1, 4, 0)), list(order.plan(1, 4, 5))
    assert (rest[0].first_batch, rest[0].batches) == (5, 3) and rest[2:] == whole[4:]


def test_epochs_and_seeds_differ_and_windows_keep_neighbours() -> None:
    order = order_of(300, 2, 5, 0)
    assert (order.epoch(0) != order.epoch(1)).any() and (order.epoch(0) == order.epoch(0)).all()
    assert (order.epoch(0) != order_of(300, 2, 5, 1).epoch(0)).any()
    groups = order.rows.row[order.epoch(0)[:, 0]] // 128 + 10 * order.rows.item[order.epoch(0)[:, 0]]
    first_window = set(groups[: (groups == groups[0]).sum()].tolist())
    assert len(first_window) <= 2, "a window of two row groups mixes rows of two row groups"


@pytest.mark.parametrize("world", [1, 2, 4])
def test_lanes_are_dealt_round_robin(world: int) -> None:
    order = order_of(64, 4, 2, 0)
    blocks = [item.lane for item in order.plan(1, 2, 0)]
    dealt = {rank: blocks[rank::world] for rank in range(world)}
    assert all(set(lanes) == set(range(rank, 4, world)) for rank, lanes in dealt.items())
