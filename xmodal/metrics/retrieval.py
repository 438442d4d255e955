"""Retrieval measured without being fooled by ties.

**The rule for ties: every figure is its exact expectation when equal scores are put in random order.** A model that
gives every pair the same score therefore gets the chance level: counting only strictly better scores would give it
100 %, an argsort whatever the order of the files is. Ranks come from counting in chunks; no score matrix is held.

For a query let `above` be the candidates that score higher than its best right answer, and among those that score equal
to it `tied_positives` right ones (at least one) and `tied_negatives` wrong ones. Its rank (0-based) is
above + tied_negatives / (tied_positives + 1), for a single right answer #(s > s_true) + (#(s == s_true) - 1) / 2;
optimistic = above, pessimistic = above + tied_negatives. With m = k - above places left for the tied ones,

    R@k = 1 - C(tied_negatives, m) / C(tied_negatives + tied_positives, m)

A query without any right answer in the gallery is NaN and counts nowhere. R@k of a gallery of at most k is 1, and its
P@k the share of right ones.

Sources: McSherry & Najork, ECIR 2008 (tied scores); Musgrave et al., ECCV 2020 (MAP@R, R-precision); Järvelin &
Kekäläinen, TOIS 20 (2002) (nDCG).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmodal.metrics.intervals import mean
from xmodal.relations import truth

Rows = Callable[[slice], Tensor]
"""Some queries -> their rows of a (queries, gallery) matrix that never exists whole."""

Array = NDArray[np.float64]
CHUNK = 256


def dots(queries: Tensor, gallery: Tensor) -> Rows:
    """Scores queries (Q, D) against gallery (N, D) by float32 dot products.

    Equal gallery rows are scored once: a matrix product may round equal columns differently, which would hide a tie.
    """
    distinct, column = torch.unique(gallery.float(), dim=0, return_inverse=True)
    if len(distinct) == len(gallery):
        return lambda rows: queries[rows].float() @ gallery.float().T
    return lambda rows: (queries[rows].float() @ distinct.T)[:, column]


def same_owner(queries: Tensor, gallery: Tensor) -> Rows:
    """Relevance of a captioned set: queries (Q,) and gallery (N,) hold the image each row belongs to."""
    return lambda rows: queries[rows, None] == gallery[None]


def entailed(texts: Tensor, images: Tensor) -> Rows:
    """Relevance of images (N, A) to text queries (Q, A) by attribute codes: true where all the text claims is recorded.

    -1 = unspecified: claims nothing in a text, and supports no claim in an image.
    """
    return lambda rows: truth(texts[rows], images)[0]


def entailing(images: Tensor, texts: Tensor) -> Rows:
    """Relevance of texts (N, A) to image queries (Q, A): the transpose of `entailed`."""
    return lambda rows: truth(texts, images[rows])[0].T


@dataclass(frozen=True)
class Ranks:
    """What counting found of each of Q queries; all arrays (Q,) int64."""

    above: NDArray[np.int64]
    tied_negatives: NDArray[np.int64]
    tied_positives: NDArray[np.int64]
    positives: NDArray[np.int64]
    """Right answers in the gallery; 0 = the query cannot be answered."""
    gallery: int

    def recall(self, k: int) -> Array:
        """(Q,) probability that a right answer is among the first k."""
        return self._answerable(_hit(self.above, self.tied_negatives, self.tied_positives, k))

    def chance(self, k: int) -> Array:
        """(Q,) `recall` of a random order: 1 - C(N - P, k) / C(N, k)."""
        return self._answerable(_hit(np.zeros_like(self.above), self.gallery - self.positives, self.positives, k))

    @property
    def rank(self) -> Array:
        """(Q,) expected 0-based rank of the best right answer."""
        return self._answerable(self.above + self.tied_negatives / (self.tied_positives + 1))

    @property
    def optimistic(self) -> Array:
        return self._answerable(self.above)

    @property
    def pessimistic(self) -> Array:
        return self._answerable(self.above + self.tied_negatives)

    def median_rank(self) -> float:
        """The smallest k at which R@k reaches 50 % (1-based): the lower median of the ranks where nothing ties."""
        return _first(self.recall, self.gallery)

    def chance_median_rank(self) -> float:
        """`median_rank` of a random order."""
        return _first(self.chance, self.gallery)

    def _answerable(self, values: NDArray) -> Array:
        return np.where(self.positives > 0, values, np.nan)


def ranks(scores: Rows, relevant: Rows, queries: int) -> Ranks:
    """Counts, chunk by chunk, what stands above and beside each query's best right answer.

    Raises ValueError where a score is not finite: it would silently rank first or last.
    """
    parts = [_count(scores(rows), relevant(rows)) for rows in _chunks(queries)]
    above, negatives, positives, right = torch.cat([part[0] for part in parts], 1).cpu().numpy()
    return Ranks(above, negatives, positives, right, parts[0][1])


def _check_finite(scores: Tensor) -> None:
    if not torch.isfinite(scores.sum(1)).all():
        raise ValueError("a retrieval score is not finite: the encoder gave NaN or infinity")


def _count(scores: Tensor, relevant: Tensor) -> tuple[Tensor, int]:
    _check_finite(scores)
    best = torch.where(relevant, scores, -torch.inf).amax(1, keepdim=True)
    above, reached = scores > best, scores >= best  # no right answer scores above the best one
    above, reached, right, found = (_number(rows) for rows in (above, reached, relevant, reached & relevant))
    return torch.stack([above, reached - above - found, found, right]), scores.shape[1]


def _number(rows: Tensor) -> Tensor:
    return rows.sum(1, dtype=torch.int32).long()


def _chunks(queries: int) -> list[slice]:
    if queries == 0:
        raise ValueError("no query to rank")
    return [slice(start, start + CHUNK) for start in range(0, queries, CHUNK)]


def _hit(above: NDArray, negatives: NDArray, positives: NDArray, k: int) -> Array:
    """1 - C(negatives, m) / C(negatives + positives, m), m = k - above, by log gamma; 0 where m <= 0."""
    left = np.clip(k - above, 0, negatives + positives)
    missed = np.clip(left, 0, negatives)
    every = negatives + positives
    log = _log_falling(negatives, missed) - _log_falling(every, missed)
    return np.where(left > negatives, 1.0, 1.0 - np.exp(log))


def _log_falling(top: NDArray, count: NDArray) -> Array:
    """log(top! / (top - count)!)"""
    of, rest = torch.as_tensor(top, dtype=torch.float64), torch.as_tensor(top - count, dtype=torch.float64)
    return (torch.lgamma(of + 1) - torch.lgamma(rest + 1)).numpy()


def _first(recall: Callable[[int], Array], gallery: int) -> float:
    low, high = 1, gallery
    if np.isnan(recall(1)).all():
        return float("nan")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if np.nanmean(recall(middle)) >= 0.5 - 1e-9 else (middle + 1, high)
    return float(low)


@dataclass(frozen=True)
class Precisions:
    """MAP@R and R-precision of Q queries, R = right answers in the gallery; arrays (Q,), NaN where R is 0."""

    map_at_r: Array
    r_precision: Array
    positives: NDArray[np.int64]
    gallery: int

    def chance_map_at_r(self) -> Array:
        """(Q,) expectation in random order: (1/N) [(1 - c) H_R + c R], c = (R - 1) / (N - 1), H_R harmonic."""
        right, total = self.positives.astype(np.float64), self.gallery
        pairs = (right - 1) / max(total - 1, 1)
        harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, total + 1))])[self.positives]
        return np.where(right > 0, ((1 - pairs) * harmonic + pairs * right) / total, np.nan)

    def chance_r_precision(self) -> Array:
        """(Q,) R / N."""
        return np.where(self.positives > 0, self.positives / self.gallery, np.nan)


def precisions(scores: Rows, relevant: Rows, queries: int) -> Precisions:
    """MAP@R and R-precision, ties by expectation. Sorts only the R best of each query, a chunk at a time."""
    parts = [_precision(scores(rows), relevant(rows)) for rows in _chunks(queries)]
    map_at_r, r_precision, right = torch.cat([part[0] for part in parts], 1).cpu().numpy()
    return Precisions(map_at_r, r_precision, right.astype(np.int64), parts[0][1])


def _precision(scores: Tensor, relevant: Tensor) -> tuple[Tensor, int]:
    """In a group of T equal scores with p right, after a others of which r right, place i (1-based) is right with
    probability p / T, and then has the expected precision (r + 1 + (i - 1)(p - 1) / (T - 1)) / (a + i)."""
    right = relevant.sum(1)
    depth = max(int(right.max()), 1)
    value, index = scores.topk(depth, dim=1)
    group = torch.zeros_like(index)
    group[:, 1:] = (value[:, 1:] != value[:, :-1]).cumsum(1)
    size = torch.zeros_like(value, dtype=torch.float64)
    hits = torch.zeros_like(size)
    size.scatter_add_(1, group, torch.ones_like(size))
    hits.scatter_add_(1, group, relevant.gather(1, index).double())
    # the last group may go on below the R best: count it whole
    last, at_last = group[:, -1:], scores == value[:, -1:]
    size.scatter_(1, last, at_last.sum(1, keepdim=True).double())
    hits.scatter_(1, last, (at_last & relevant).sum(1, keepdim=True).double())
    before, hits_before = (size.cumsum(1) - size).gather(1, group), (hits.cumsum(1) - hits).gather(1, group)
    size, hits = size.gather(1, group), hits.gather(1, group)
    place = torch.arange(1, depth + 1, device=scores.device)
    share = (hits / size) * (place <= right[:, None])
    others = (place - before - 1) * (hits - 1) / (size - 1).clamp(min=1)
    precision = (hits_before + 1 + others) / place
    per_query = torch.stack([(share * precision).sum(1), share.sum(1)]) / right
    return torch.cat([per_query, right[None].double()]), scores.shape[1]


def precision_at(scores: Rows, relevant: Rows, queries: int, k: int) -> Array:
    """(Q,) share of right ones among the first k, ties by expectation; NaN where no right one is in the gallery.
    `Precisions.chance_r_precision` is what a random order gives, whatever k is."""
    parts = [_precision_at(scores(rows), relevant(rows), k) for rows in _chunks(queries)]
    return torch.cat(parts).cpu().numpy()


def _precision_at(scores: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Those above the k-th score have a place for sure; those equal to it share the places that are left."""
    _check_finite(scores)
    k = min(k, scores.shape[1])
    last = scores.topk(k, dim=1).values[:, -1:]
    above, level = scores > last, scores == last
    left = (k - above.sum(1)) / level.sum(1).double()
    found = (above & relevant).sum(1) + left * (level & relevant).sum(1)
    return torch.where(relevant.any(1), found / k, torch.nan)


@dataclass(frozen=True)
class Graded:
    """nDCG of the whole order of Q queries; arrays (Q,), NaN where a gain is not known or nothing has one."""

    ndcg: Array
    chance: Array
    """The same of a random order."""


def graded(scores: Rows, gains: Rows, queries: int) -> Graded:
    """nDCG with `gains` (Q, N) from 0, ties by expectation: sum of gain / log2(1 + place) over that of the best order.
    Sorts a chunk of queries at a time."""
    parts = [_graded(scores(rows), gains(rows).double()) for rows in _chunks(queries)]
    ndcg, chance = torch.cat(parts, 1).cpu().numpy()
    return Graded(ndcg, chance)


def _graded(scores: Tensor, gains: Tensor) -> Tensor:
    """Each place among equal scores has, in expectation, their mean gain."""
    _check_finite(scores)
    value, index = scores.sort(1, descending=True)
    group = torch.zeros_like(index)
    group[:, 1:] = (value[:, 1:] != value[:, :-1]).cumsum(1)
    size = torch.zeros_like(gains).scatter_add_(1, group, torch.ones_like(gains))
    gained = torch.zeros_like(gains).scatter_add_(1, group, gains.gather(1, index))
    discount = 1 / torch.log2(torch.arange(2, gains.shape[1] + 2, dtype=torch.float64, device=gains.device))
    found = (gained / size).gather(1, group) @ discount
    best = gains.sort(1, descending=True).values @ discount
    return torch.stack([found, gains.mean(1) * discount.sum()]) / best


def rsum(i2t: Ranks, t2i: Ranks, ks: Sequence[int] = (1, 5, 10)) -> float:
    """Sum of R@1, R@5 and R@10 in both directions, in percent (0..600)."""
    return 100 * sum(mean(direction.recall(k)) for direction in (i2t, t2i) for k in ks)


def chance_rsum(i2t: Ranks, t2i: Ranks, ks: Sequence[int] = (1, 5, 10)) -> float:
    """`rsum` of a random order."""
    return 100 * sum(mean(direction.chance(k)) for direction in (i2t, t2i) for k in ks)
