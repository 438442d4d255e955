"""Streamed ranks against the ranks of a matrix that exists."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.xmodal.world import World
from xmodal.metrics import retrieval
from xmodal.metrics.retrieval import Ranks
from xmodal.metrics.streaming import Scores, streamed

OWNER = torch.tensor([2, 0, 0, 3, 2, 2, 0, 3, 5])
"""Captions are in no order, images have different numbers of them, images 1 and 4 none."""


def table(seed: int = 0, levels: int = 1000) -> Tensor:
    return torch.randint(0, levels, (6, len(OWNER)), generator=torch.Generator().manual_seed(seed)) / levels


def of(scores: Tensor) -> Scores:
    return lambda images, captions: scores[images][:, captions]


def whole(scores: Tensor, owner: Tensor) -> tuple[Ranks, Ranks]:
    rows, relevant = (lambda part: scores[part]), retrieval.same_owner(torch.arange(len(scores)), owner)
    turned = retrieval.same_owner(owner, torch.arange(len(scores)))
    i2t = retrieval.ranks(rows, relevant, len(scores))
    return i2t, retrieval.ranks(lambda part: scores.T[part], turned, len(owner))


def assert_same(found: tuple[Ranks, Ranks], wanted: tuple[Ranks, Ranks]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.gallery == other.gallery and np.array_equal(one.positives, other.positives)
        assert np.array_equal(one.rank, other.rank, equal_nan=True)
        assert np.array_equal(one.pessimistic, other.pessimistic, equal_nan=True)
        for k in (1, 5, 10):
            assert np.array_equal(one.recall(k), other.recall(k), equal_nan=True)


@pytest.mark.parametrize("levels", [1000, 4, 1])
@pytest.mark.parametrize("step", [(256, 512), (1, 1), (4, 2)])
def test_streamed_ranks_are_those_of_the_matrix_ties_included(levels: int, step: tuple[int, int]) -> None:
    for seed in range(4):
        scores = table(seed, levels)
        assert_same(streamed(of(scores), OWNER, 6, step), whole(scores, OWNER))


def test_a_caption_of_no_image_is_a_distractor_and_asks_nothing() -> None:
    scores, owner = table(), OWNER.clone()
    owner[[1, 8]] = -1
    assert_same(streamed(of(scores), owner, 6), whole(scores, owner))


def test_a_collapsed_matcher_is_at_chance_and_pessimistically_last() -> None:
    i2t, t2i = streamed(of(torch.full((6, len(OWNER)), 0.5)), OWNER, 6)
    assert np.nanmean(t2i.recall(1)) == pytest.approx(1 / 6) and (t2i.pessimistic == 5).all()
    assert np.nanmean(i2t.recall(1)) == pytest.approx(np.nanmean(i2t.chance(1)))


@pytest.mark.parametrize("largest", [1, 50])
def test_rounding_between_the_passes_is_a_tie(largest: int) -> None:
    """Of log odds as of cosines: float32 rounds them in proportion."""
    scores = largest * (1 + table(levels=3))
    calls = iter(range(10**6))

    def jittered(images: Tensor, captions: Tensor) -> Tensor:
        return scores[images][:, captions] + 1e-7 * largest * (next(calls) % 3)

    assert_same(streamed(jittered, OWNER, 6), whole(scores, OWNER))


def test_scores_that_are_not_finite_or_depend_on_the_block_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        streamed(of(table().index_fill(0, torch.tensor([4]), torch.nan)), OWNER, 6)
    with pytest.raises(ValueError, match="differently beside other pairs"):
        streamed(lambda images, captions: table()[images][:, captions] + len(captions), OWNER, 6)


def sharded(seed: int) -> tuple[Ranks, Ranks]:
    return streamed(of(table(seed)), OWNER, 6, (2, 3))


def test_shards_add_up(world: World) -> None:
    for size in (2, 3):
        for found in world.run(size, sharded, 5):
            assert_same(found, whole(table(5), OWNER))
