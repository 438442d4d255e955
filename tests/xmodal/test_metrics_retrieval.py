"""Retrieval figures against brute force over all orders of the ties, simulated chance and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmodal.metrics import retrieval
from xmodal.metrics.intervals import mean


def matrix(values) -> retrieval.Rows:
    table = torch.as_tensor(values)
    return lambda rows: table[rows]


def every_order(scores: np.ndarray) -> list[tuple[int, ...]]:
    """All orders of the gallery that sort the scores from high to low."""
    orders = itertools.permutations(range(len(scores)))
    return [order for order in orders if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))]


def slow_recall(scores: np.ndarray, right: np.ndarray, k: int) -> float:
    return float(np.mean([right[list(order[:k])].any() for order in every_order(scores)]))


def slow_rank(scores: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean([int(np.argmax(right[list(order)])) for order in every_order(scores)]))


def slow_map_at_r(scores: np.ndarray, right: np.ndarray) -> float:
    total, found = right.sum(), []
    for order in every_order(scores):
        ordered = right[list(order)][:total]
        found.append(sum(ordered[i] * ordered[: i + 1].mean() for i in range(total)) / total)
    return float(np.mean(found))


def slow_ndcg(scores: np.ndarray, gains: np.ndarray) -> float:
    discounts = [1 / math.log2(1 + place) for place in range(1, len(gains) + 1)]
    found = [float(gains[list(order)] @ discounts) for order in every_order(scores)]
    return float(np.mean(found)) / float(np.sort(gains)[::-1] @ discounts)


@st.composite
def tied_query(draw):
    size = draw(st.integers(2, 6))
    scores = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    right = draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any))
    return np.array(scores, dtype=np.float32), np.array(right)


@given(tied_query())
def test_figures_are_the_mean_over_all_orders_of_the_ties(query):
    scores, right = query
    rows, relevant = matrix(scores[None]), matrix(right[None])
    found, exact = retrieval.ranks(rows, relevant, 1), retrieval.precisions(rows, relevant, 1)
    for k in (1, 2, 3, 10):
        assert found.recall(k)[0] == pytest.approx(slow_recall(scores, right, k), abs=1e-9)
    assert found.rank[0] == pytest.approx(slow_rank(scores, right))
    assert found.optimistic[0] <= found.rank[0] <= found.pessimistic[0]
    assert exact.map_at_r[0] == pytest.approx(slow_map_at_r(scores, right))
    for k in (1, 2, 3, 10):
        slow = [right[list(order[:k])].mean() for order in every_order(scores)]
        assert retrieval.precision_at(rows, relevant, 1, k)[0] == pytest.approx(float(np.mean(slow)))
    firsts = [right[list(order)][: right.sum()].mean() for order in every_order(scores)]
    assert exact.r_precision[0] == pytest.approx(float(np.mean(firsts)))


@given(tied_query(), st.lists(st.sampled_from([0, 0.2, 0.6, 1]), min_size=6, max_size=6).filter(any))
def test_ndcg_is_the_mean_over_all_orders_of_the_ties(query, gains):
    scores, graded = query[0], np.array(gains[: len(query[0])], dtype=float)
    graded[0] = max(graded[0], 0.2)
    found = retrieval.graded(matrix(scores[None]), matrix(graded[None]), 1)
    assert found.ndcg[0] == pytest.approx(slow_ndcg(scores, graded))
    assert found.chance[0] == pytest.approx(slow_ndcg(np.zeros_like(scores), graded))
    assert retrieval.graded(matrix(graded[None]), matrix(graded[None]), 1).ndcg[0] == pytest.approx(1)


def test_ndcg_of_many_queries_equals_numpy_row_by_row_and_what_is_not_known_is_nan():
    draws = np.random.default_rng(4)
    scores, gains = draws.normal(size=(600, 40)), draws.choice([0, 0.2, 0.4, 1], (600, 40))
    gains[7], gains[8] = np.nan, 0
    found = retrieval.graded(matrix(scores), matrix(gains), 600)
    discounts = 1 / np.log2(np.arange(2, 42))
    ordered = np.take_along_axis(gains, (-scores).argsort(1), 1)
    with np.errstate(invalid="ignore"):
        slow = ordered @ discounts / (np.sort(gains)[:, ::-1] @ discounts)
    assert np.allclose(found.ndcg, slow, equal_nan=True) and np.isnan(found.ndcg).nonzero()[0].tolist() == [7, 8]
    assert mean(found.ndcg) == pytest.approx(mean(found.chance), abs=0.01), "random scores"


def test_single_right_answer_follows_the_written_rule():
    scores = torch.tensor([[3.0, 2.0, 2.0, 2.0, 1.0]])
    found = retrieval.ranks(matrix(scores), matrix(torch.tensor([[False, True, False, False, False]])), 1)
    assert found.rank[0] == 1 + 0.5 * (3 - 1)
    assert (found.optimistic[0], found.pessimistic[0]) == (1, 3)
    assert [found.recall(k)[0] for k in (1, 2, 4)] == pytest.approx([0, 1 / 3, 1])


def test_a_collapsed_model_scores_chance_not_a_hundred_and_not_zero():
    same = torch.ones(40, 8) / math.sqrt(8)
    owner = torch.arange(40)
    found = retrieval.ranks(retrieval.dots(same, same), retrieval.same_owner(owner, owner), 40)
    assert mean(found.recall(1)) == pytest.approx(1 / 40)
    assert mean(found.recall(10)) == pytest.approx(10 / 40)
    assert found.median_rank() == found.chance_median_rank() == 20


def test_equal_gallery_rows_tie_exactly_whatever_the_matrix_product_rounds():
    generator = torch.Generator().manual_seed(3)
    queries, texts = torch.randn(5, 37, generator=generator), torch.randn(61, 37, generator=generator)
    gallery = texts.repeat(3, 1)
    scores = retrieval.dots(queries, gallery)(slice(0, 5))
    assert torch.equal(scores[:, :61], scores[:, 61:122])
    assert torch.equal(scores[:, :61], scores[:, 122:])
    assert torch.allclose(scores, queries @ gallery.T, atol=1e-4)


def test_chance_is_what_random_scores_give():
    generator = torch.Generator().manual_seed(0)
    right = torch.zeros(3000, 30, dtype=torch.bool)
    right[:1500, :5] = True
    right[1500:, :2] = True
    rows = matrix(torch.rand(3000, 30, generator=generator))
    found, exact = retrieval.ranks(rows, matrix(right), 3000), retrieval.precisions(rows, matrix(right), 3000)
    for k in (1, 5, 10):
        assert mean(found.recall(k)) == pytest.approx(mean(found.chance(k)), abs=0.035)
    assert abs(found.median_rank() - found.chance_median_rank()) <= 1
    assert mean(exact.map_at_r) == pytest.approx(mean(exact.chance_map_at_r()), abs=0.012)
    assert mean(exact.r_precision) == pytest.approx(mean(exact.chance_r_precision()), abs=0.012)


@given(st.integers(1, 40), st.integers(1, 40))
def test_constant_scores_give_exactly_the_closed_form_chance(gallery, positives):
    positives = min(positives, gallery)
    right = matrix(torch.arange(gallery)[None] < positives)
    rows = matrix(torch.zeros(1, gallery))
    found, exact = retrieval.ranks(rows, right, 1), retrieval.precisions(rows, right, 1)
    for k in (1, 5, 10):
        drawn = 1 - math.comb(gallery - positives, min(k, gallery)) / math.comb(gallery, min(k, gallery))
        assert found.recall(k)[0] == pytest.approx(drawn, abs=1e-9)
        assert found.chance(k)[0] == pytest.approx(drawn, abs=1e-9)
    assert exact.map_at_r[0] == pytest.approx(exact.chance_map_at_r()[0])
    assert exact.r_precision[0] == pytest.approx(exact.chance_r_precision()[0])


def test_instance_recall_takes_the_best_of_several_captions_and_chunks_change_nothing():
    generator = torch.Generator().manual_seed(1)
    images, owner = torch.randn(300, 16, generator=generator), torch.arange(300).repeat_interleave(5)
    texts = images[owner] + 2.5 * torch.randn(1500, 16, generator=generator)
    found = retrieval.ranks(retrieval.dots(images, texts), retrieval.same_owner(torch.arange(300), owner), 300)
    scores = (images @ texts.T).numpy()
    order = (-scores).argsort(1)
    slow = np.array([np.flatnonzero(owner.numpy()[order[i]] == i)[0] for i in range(300)])
    assert np.array_equal(found.rank, slow)
    assert mean(found.recall(5)) == pytest.approx((slow < 5).mean())
    assert found.median_rank() == np.sort(slow)[149] + 1


def test_entailment_by_codes_equals_the_triple_loop():
    generator = torch.Generator().manual_seed(2)
    texts = torch.randint(-1, 3, (20, 4), generator=generator, dtype=torch.int32)
    images = torch.randint(-1, 3, (30, 4), generator=generator, dtype=torch.int32)
    slow = [[all(t in (-1, i) for t, i in zip(text, image, strict=True)) for image in images.tolist()]
            for text in texts.tolist()]  # fmt: skip
    assert retrieval.entailed(texts, images)(slice(0, 20)).tolist() == slow
    assert retrieval.entailing(images, texts)(slice(5, 9)).tolist() == np.array(slow).T[5:9].tolist()


def test_a_query_without_a_right_answer_counts_nowhere():
    scores = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    right = torch.tensor([[True, False], [False, False]])
    found = retrieval.ranks(matrix(scores), matrix(right), 2)
    assert np.isnan(found.recall(1)[1]) and np.isnan(found.rank[1])
    assert mean(found.recall(1)) == 1
    assert np.isnan(retrieval.precisions(matrix(scores), matrix(right), 2).map_at_r[1])
    assert np.array_equal(retrieval.precision_at(matrix(scores), matrix(right), 2, 1), [1, np.nan], equal_nan=True)
    nothing = retrieval.ranks(matrix(scores), matrix(torch.zeros(2, 2, dtype=torch.bool)), 2)
    assert math.isnan(nothing.median_rank()) and math.isnan(mean(nothing.recall(1)))


def test_a_gallery_smaller_than_k_is_found_whole():
    found = retrieval.ranks(matrix(torch.rand(2, 3)), matrix(torch.eye(2, 3, dtype=torch.bool)), 2)
    assert found.recall(10).tolist() == found.chance(10).tolist() == [1, 1]
    single = retrieval.precisions(matrix(torch.zeros(1, 1)), matrix(torch.ones(1, 1, dtype=torch.bool)), 1)
    assert single.map_at_r[0] == single.chance_map_at_r()[0] == 1


def test_perfect_scores_reach_the_maximum():
    owner = torch.arange(12)
    found = retrieval.ranks(retrieval.dots(torch.eye(12), torch.eye(12)), retrieval.same_owner(owner, owner), 12)
    assert retrieval.rsum(found, found) == pytest.approx(600)
    assert retrieval.chance_rsum(found, found) == pytest.approx(2 * 100 * (1 + 5 + 10) / 12)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(broken):
    with pytest.raises(ValueError, match="not finite"):
        retrieval.ranks(matrix(torch.tensor([[1.0, broken]])), matrix(torch.tensor([[True, False]])), 1)
    with pytest.raises(ValueError, match="not finite"):
        retrieval.precision_at(matrix(torch.tensor([[1.0, broken]])), matrix(torch.tensor([[True, False]])), 1, 1)
    with pytest.raises(ValueError, match="not finite"):
        retrieval.graded(matrix(torch.tensor([[1.0, broken]])), matrix(torch.tensor([[1.0, 0.0]])), 1)


def test_no_query_is_refused():
    with pytest.raises(ValueError, match="no query"):
        retrieval.ranks(matrix(torch.zeros(0, 3)), matrix(torch.zeros(0, 3, dtype=torch.bool)), 0)
