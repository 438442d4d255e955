"""The shape of the shared space: how close pairs are, how the points spread, how far the two clouds lie apart.

Shapes: image f (N, D), text e (N, D), unit vectors, row i of both = one pair. Values are float64.

Sources: Wang & Isola, ICML 2020 (alignment, uniformity); Liang et al., NeurIPS 2022 (modality gap); Roy & Vetterli,
EUSIPCO 2007 (effective rank); van den Oord et al. 2018, eq. 5, and Poole et al., ICML 2019 (the I_NCE bound).
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from xmodal.metrics.intervals import DRAWS, Interval, jackknife_interval, number, percentile, resample

Groups = Sequence[Hashable] | NDArray
CHUNK = 512


def alignment(image: Tensor, text: Tensor) -> NDArray[np.float64]:
    """(N,) squared distance |f - e|^2 of each pair, 0..4; the figure is the mean, lower is closer."""
    return (image.double() - text.double()).square().sum(1).cpu().numpy()


def chance_alignment(image: Tensor, text: Tensor) -> float:
    """Mean |f_i - e_j|^2 over all i, j: what `alignment` gives on average when the texts are dealt at random."""
    mean_image, mean_text = image.double().mean(0), text.double().mean(0)
    lengths = image.double().square().sum(1).mean() + text.double().square().sum(1).mean()
    return float(lengths - 2 * mean_image @ mean_text)


def uniformity(points: Tensor) -> float:
    """log of the mean of exp(-2 |x - y|^2) over all pairs x != y: 0 = one point; NaN for a single row."""
    rows = points.double()
    total = sum(float(torch.exp(-2 * _distances(part, rows)).sum()) for part in rows.split(CHUNK))
    pairs = len(rows) * (len(rows) - 1)
    return math.log(max(total - len(rows), 0.0) / pairs) if pairs else math.nan


def _distances(part: Tensor, rows: Tensor) -> Tensor:
    """Squared distances, from differences of lengths and products; never negative."""
    lengths = part.square().sum(1)[:, None] + rows.square().sum(1)[None]
    return (lengths - 2 * part @ rows.T).clamp(min=0)


def uniformity_interval(points: Tensor, groups: Groups, draws: int = DRAWS, seed: int = 0) -> Interval | None:
    """Bootstrap of `uniformity` over groups (N,): pairs of a row with its own copy in a draw do not count."""
    rows, numbers = points.double(), torch.from_numpy(number(groups)).to(points.device)
    every = int(numbers.max()) + 1
    sums, sizes = rows.new_zeros(every, every), torch.bincount(numbers).double()
    for part, of_part in zip(rows.split(CHUNK), numbers.split(CHUNK), strict=True):
        closeness = torch.exp(-2 * _distances(part, rows))
        to_group = closeness.new_zeros(len(part), every).index_add_(1, numbers, closeness)
        sums.index_add_(0, of_part, to_group)
    own = torch.diag(sizes)  # each row with itself, at distance 0
    weights = torch.from_numpy(resample(every, draws, seed)).to(rows)
    drawn = ((weights @ (sums - own)) * weights).sum(1)
    pairs = ((weights @ (sizes[:, None] * sizes - own)) * weights).sum(1)
    return percentile((drawn / pairs).log().cpu().numpy()) if every > 1 else None


def modality_gap_interval(
    image: Tensor, text: Tensor, groups: Groups, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Bootstrap of `modality_gap` over groups (N,).

    A resample's centres lie further apart than the sample's by its noise; that mean excess is taken off the squares.
    """
    numbers = torch.from_numpy(number(groups)).to(image.device)
    every = int(numbers.max()) + 1
    apart = image.new_zeros(every, image.shape[1], dtype=torch.float64)
    apart.index_add_(0, numbers, image.double() - text.double())
    weights = torch.from_numpy(resample(every, draws, seed)).to(apart)
    means = (weights @ apart) / (weights @ torch.bincount(numbers).double())[:, None]
    squares = means.square().sum(1)
    excess = squares.mean() - modality_gap(image, text) ** 2
    return percentile((squares - excess).clamp(min=0).sqrt().cpu().numpy()) if every > 1 else None


def uniformity_floor(width: int) -> float:
    """`uniformity` of infinitely many points spread evenly over the unit sphere in D = width dimensions.

    log(exp(-4) 0F1(; D/2; 4)), since |x - y|^2 = 2 - 2 cos and E exp(4 cos) = 0F1(; D/2; 4).
    """
    term, total = 1.0, 1.0
    for k in range(1, 200):
        term *= 4 / (k * (width / 2 + k - 1))
        total += term
    return math.log(total) - 4


def modality_gap(image: Tensor, text: Tensor) -> float:
    """Distance |mean f - mean e| between the centres of the two clouds, 0..2."""
    return float((image.double().mean(0) - text.double().mean(0)).norm())


def chance_modality_gap(image: Tensor, text: Tensor) -> float:
    """Root mean square `modality_gap` when the two of each pair are swapped at random: sqrt(alignment / N)."""
    return math.sqrt(float(alignment(image, text).mean()) / len(image))


def effective_rank(points: Tensor) -> float:
    """exp of the entropy of the singular values s / sum(s) of (N, D): 1 = a line, at most min(N, D)."""
    values = torch.linalg.svdvals(points.double())
    shares = values[values > 0] / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def chance_rank(rows: int, width: int, seed: int = 0) -> float:
    """`effective_rank` of as many directions drawn at random."""
    drawn = np.random.default_rng(seed).standard_normal((rows, width))
    return effective_rank(torch.from_numpy(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)))


def effective_rank_interval(points: Tensor, groups: Groups) -> Interval | None:
    """Jackknife of `effective_rank` over groups (N,): the repeated rows of a bootstrap would lower it."""
    rows = points.double().cpu()
    return jackknife_interval(lambda kept: effective_rank(rows[torch.from_numpy(kept)]), groups)


def i_nce(image: Tensor, text: Tensor, size: int, temperature: float, seed: int = 0) -> NDArray[np.float64]:
    """(N,) log n + log softmax of the true pair among n texts; the mean bounds mutual information below, in nats.

    The pairs are dealt by seed into whole sets of n = min(size, N); a pair left over is NaN. Guessing gives 0 or less,
    at most log n can be shown. Pairs with equal texts cannot be told apart, which lowers it.
    """
    sets = _deal(len(image), size, seed)
    logits = _logits(image[sets], text[sets]) / temperature
    own = log_softmax(logits, 2).diagonal(dim1=1, dim2=2)
    values = np.full(len(image), np.nan)
    values[sets.flatten().numpy()] = (math.log(sets.shape[1]) + own).flatten().cpu().numpy()
    return values


def best_temperature(image: Tensor, text: Tensor, size: int, seed: int = 0) -> float:
    """The one of 64 temperatures from 0.005 to 1 (geometric) with the highest `i_nce`; fit on validation data."""
    grid = torch.logspace(math.log10(0.005), 0, 64, dtype=torch.float64)
    bounds = [float(np.nanmean(i_nce(image, text, size, float(value), seed))) for value in grid]
    return float(grid[int(np.argmax(bounds))])


def _deal(rows: int, size: int, seed: int) -> Tensor:
    """(sets, n) row numbers."""
    size = min(size, rows)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(rows))
    return order[: rows // size * size].reshape(-1, size)


def _logits(image: Tensor, text: Tensor) -> Tensor:
    return image.double() @ text.double().transpose(1, 2)
