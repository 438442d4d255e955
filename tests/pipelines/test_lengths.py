"""Texts of like length in one batch: the same rows, less padding, the same batches wherever a run stops."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dataset import Dataset
from pipelines.train.lanes import ReadLane, batches
from pipelines.train.lengths import AsDrawn, ByLength, arrangement
from pipelines.train.order import LaneOrder, Rows, WorkItem
from pipelines.train.plan import TrainingPlan
from tests.pipelines.road import prepared, stepped
from xmodal.batch import Batch

LENGTHS = np.random.default_rng(3).integers(4, 60, 700)


def order_of(rows: int, lanes: int, lane_batch: int) -> LaneOrder:
    number = np.arange(rows, dtype=np.int32)
    return LaneOrder(Rows(number * 0, number, number * 0), 5, lanes * lane_batch, lanes, window=2)


def length(position: int, visit: int) -> int:
    return int(LENGTHS[(position + visit) % len(LENGTHS)])


def arranged(order: LaneOrder, window: int, lane: int, epoch: int, first: int = 0) -> np.ndarray:
    """(batches, B/L, 2) rows of a lane from batch `first` on."""
    rows, _ = order.lane(order.epoch(epoch), lane)
    item = WorkItem(epoch, first, order.batches - first, lane)
    return arrangement(window)(rows, order, item, length).reshape(-1, order.lane_batch, 2)


shapes = st.tuples(st.integers(1, 400), st.integers(1, 3), st.integers(1, 6))


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(1, 9))
def test_a_window_keeps_its_rows_and_a_padded_batch_its_own(shape: tuple[int, int, int], window: int) -> None:
    order = order_of(*shape)
    for lane in range(order.lanes):
        drawn, found = arranged(order, 1, lane, 1), arranged(order, window, lane, 1)
        for first in range(0, order.batches, window):
            before, after = (one[first : first + window].reshape(-1, 2).tolist() for one in (drawn, found))
            assert sorted(after) == sorted(before)
        if len(order.rows) % order.global_batch:
            assert found[-1].tolist() == drawn[-1].tolist()


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(1, 9), st.integers(0, 30))
def test_a_resumed_run_meets_the_batches_it_would_have_met(
    shape: tuple[int, int, int], window: int, first: int
) -> None:
    order = order_of(*shape)
    first = min(first, order.batches - 1)
    whole = arranged(order, window, order.lanes - 1, 0)
    assert arranged(order, window, order.lanes - 1, 0, first).tolist() == whole[first:].tolist()


def test_short_meets_short_in_every_lane_and_no_two_epochs_are_alike() -> None:
    order = order_of(640, lanes=2, lane_batch=8)

    def longest(window: int, lane: int, epoch: int) -> np.ndarray:
        rows = arranged(order, window, lane, epoch)
        return np.array([max(length(*one) for one in batch) for batch in rows.tolist()])

    mean = sum(length(*one) for one in arranged(order, 1, 0, 0).reshape(-1, 2).tolist()) / 320
    assert mean / longest(1, 0, 0).mean() < 0.65 and mean / longest(20, 0, 0).mean() > 0.85
    ours, theirs = longest(20, 0, 0), longest(20, 1, 0)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9, "lanes turn alike"
    assert (ours != np.sort(ours)).any() and ours.tolist() != longest(20, 0, 1).tolist()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrainingPlan:
    recipe = prepared(str(tmp_path_factory.mktemp("lengths")), train={"length_window": 9, "global_batch": 4})
    return TrainingPlan.of(recipe, Dataset.open(recipe.compute.store(), "tiny"))


def test_real_captions_are_sorted_and_two_workers_hold_the_batches_of_one(plan: TrainingPlan) -> None:
    def places(one: TrainingPlan) -> int:
        return sum(batch.text.numel() for batch in epoch_of(one, 0, 1))

    assert plan.arrange == ByLength(9) and places(plan) < places(replace(plan, arrange=AsDrawn()))
    one, two = epoch_of(plan, 0, 1), [epoch_of(plan, rank, 2) for rank in range(2)]
    for whole, *shares in zip(one, *two, strict=True):
        assert sorted(whole.sample_id.tolist()) == sorted(n for share in shares for n in share.sample_id.tolist())
        lengths = whole.text_mask.sum(1)[whole.valid]
        assert whole.text.shape[1] == lengths.max()


def epoch_of(plan: TrainingPlan, rank: int, size: int) -> list[Batch]:
    lane = ReadLane(plan.lanes())
    blocks = [lane.block(item) for item in plan.order.plan(1, 2, 0)]
    return list(batches(iter(blocks[rank::size]), plan.order, plan.reader, rank, size))


def test_a_model_learns_from_them(plan: TrainingPlan, tmp_path_factory: pytest.TempPathFactory) -> None:
    recipe = prepared(str(tmp_path_factory.mktemp("learns")), train={"length_window": 3, "epochs": 3})
    dataset = Dataset.open(recipe.compute.store(), "tiny")
    long = TrainingPlan.of(recipe, dataset)
    *_, losses = stepped(recipe, long, long.total_steps)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
