"""FeatureQueue against a deque, whatever is pushed."""

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmodal.queue import FeatureQueue, Keys

D, A = 3, 2


def keys(first: int, valid: list[bool]) -> Keys:
    """Rows that carry their own number in every column."""
    name = torch.arange(first, first + len(valid))
    vector = name[:, None].float().expand(-1, D)
    codes = name[:, None].to(torch.int32).expand(-1, A)
    return Keys(name, name + 1, name + 2, codes, codes + 1, torch.tensor(valid, dtype=torch.bool), vector, -vector)


def content(queue: FeatureQueue) -> list[tuple[int, ...]]:
    rows, steps = queue.ordered()
    columns = (rows.sample_id, rows.caption_id, rows.sequence_id, rows.image_codes[:, 1], rows.text_codes[:, 0])
    vectors = (rows.image[:, 2].long(), rows.text[:, 0].long())
    return list(zip(*(column.tolist() for column in (*columns, *vectors, steps)), strict=True))


def expected(name: int, step: int) -> tuple[int, ...]:
    return name, name + 1, name + 2, name, name + 1, name, -name, step


@given(
    size=st.integers(0, 7),
    pushes=st.lists(st.lists(st.booleans(), max_size=12), max_size=6),
    resized=st.integers(0, 9),
    more=st.lists(st.booleans(), max_size=5),
)
def test_the_ring_is_a_deque(size: int, pushes: list[list[bool]], resized: int, more: list[bool]) -> None:
    queue, reference, first = FeatureQueue(size, D, A), deque[tuple[int, ...]](maxlen=size), 0
    for step, valid in enumerate(pushes):
        queue.push(keys(first, valid), step)
        reference.extend(expected(first + n, step) for n, good in enumerate(valid) if good)
        first += len(valid)
        assert content(queue) == list(reference)
        assert int(queue.valid.sum()) == len(queue) == len(reference)
    queue.resize(resized)
    reference = deque(reference, maxlen=resized)
    assert content(queue) == list(reference) and int(queue.valid.sum()) == len(reference)
    queue.push(keys(first, more), 99)
    reference.extend(expected(first + n, 99) for n, good in enumerate(more) if good)
    assert content(queue) == list(reference) and queue.total <= first + len(more)


def test_slots_follow_the_count_of_rows_ever_written() -> None:
    queue = FeatureQueue(5, D, A)
    queue.push(keys(0, [True] * 7), 0)
    assert queue.total == 7 and queue.keys.sample_id.tolist() == [5, 6, 2, 3, 4]


def test_state_goes_round_bit_by_bit() -> None:
    queue, other = FeatureQueue(5, D, A), FeatureQueue(5, D, A)
    queue.push(keys(0, [True] * 3), 4)
    other.load({name: column.clone() for name, column in queue.state().items()})
    for name, column in queue.state().items():
        assert torch.equal(column, other.state()[name]), name
    queue.push(keys(3, [True] * 4), 5)
    other.push(keys(3, [True] * 4), 5)
    assert content(queue) == content(other)


@pytest.mark.parametrize(
    ("size", "d", "a", "column"), [(6, D, A, "sample_id"), (5, D + 1, A, "image"), (5, D, 4, "codes")]
)
def test_a_state_of_another_shape_is_refused_by_name(size: int, d: int, a: int, column: str) -> None:
    queue = FeatureQueue(5, D, A)
    queue.push(keys(0, [True] * 3), 0)
    before = content(queue)
    with pytest.raises(ValueError, match=column):
        queue.load(FeatureQueue(size, d, a).state())
    assert content(queue) == before


def test_it_starts_empty_and_can_be_cleared() -> None:
    queue = FeatureQueue(4, D, A)
    assert len(queue) == 0 and not queue.valid.any() and (queue.step_written == -1).all()
    queue.push(keys(0, [True] * 6), 1)
    queue.clear()
    assert len(queue) == 0 and not queue.valid.any() and content(queue) == []


def test_pushed_keys_are_copies() -> None:
    queue, new = FeatureQueue(4, D, A), keys(0, [True] * 2)
    queue.push(new, 0)
    new.sample_id.fill_(77)
    assert queue.keys.sample_id[:2].tolist() == [0, 1]
