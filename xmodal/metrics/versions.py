"""Whether vectors tell by which version of an encoder they were made.

A queue holds keys of the last K / B versions of the key encoder. Where telling new keys from old ones is easier than
telling what they show, a contrastive loss falls by that alone: what ReCap's abstract calls a convergence shortcut (Tao
et al., Sensors 2024; the measures are ours). Shapes: vectors (N, D) of unit length; values are float64.

Sources: Alain & Bengio 2016 (linear probes); Hanley & McNeil, Radiology 1982 (AUC); Kornblith et al., ICML 2019, eq. 1
and section 3.3 (linear CKA).
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RIDGE = 1e-2
"""Of the mean eigenvalue of the features' covariance."""


def drift(stored: Tensor, now: Tensor) -> NDArray[np.float64]:
    """(N,) D = 1 - <k, k'> of stored keys and the same samples encoded now, 0..2; from differences, because a product
    of float32 vectors cannot tell 1e-8 from 0."""
    return (stored.double() - now.double()).square().sum(1).div(2).cpu().numpy()


def auc(positive: Tensor, negative: Tensor) -> float:
    """Share of (positive, negative) pairs of scores that stand in the right order, ties one half; NaN without pairs."""
    if not len(positive) or not len(negative):
        return math.nan
    order = negative.double().sort().values
    below = torch.searchsorted(order, positive.double(), side="left")
    reached = torch.searchsorted(order, positive.double(), side="right")
    return float((below + reached).double().mean() / 2 / len(negative))


def probe_auc(points: Tensor, label: Tensor, folds: int = 2) -> float:
    """AUC of a linear probe of `label` (N,) bool, each fold scored by a probe of the others; 0.5 = cannot be told.

    Ridge regression onto the label, in closed form. NaN where a fold or its complement lacks one of the labels.
    """
    fold = torch.arange(len(points), device=points.device) % folds
    return float(np.mean([_fold_auc(points.double(), label, fold == one) for one in range(folds)]))


def _fold_auc(points: Tensor, label: Tensor, held: Tensor) -> float:
    train, target = points[~held], label[~held].double()
    if not 0 < int(label[~held].sum()) < len(train):
        return math.nan
    weights, _ = ridge(train, target[:, None], torch.ones_like(target))
    scores = points[held] @ weights[:, 0]
    return auc(scores[label[held]], scores[~label[held]])


def ridge(points: Tensor, targets: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (D, C) and offsets (C,) of the ridge regression of float64 `points` (N, D) onto `targets` (N, C), where
    row i counts `counts[i]` times."""
    share = (counts / counts.sum())[:, None]
    mean, middle = (share * points).sum(0), (share * targets).sum(0)
    centred = (points - mean) * share
    covariance = centred.T @ (points - mean)
    strength = RIDGE * covariance.diagonal().mean() + 1e-12
    damped = covariance + strength * torch.eye(len(covariance), dtype=points.dtype, device=points.device)
    weights = torch.linalg.solve(damped, centred.T @ (targets - middle))
    return weights, middle - mean @ weights


def version_leak(keys: Tensor, steps: Tensor) -> float:
    """AUC of a linear probe of the newer half of queue rows against the older half; `steps` (N,) wrote them.

    0.5 = a key does not tell when it was made. The control is the same of the same samples encoded now: what differs
    there lies in the samples. NaN where all rows are of one step.
    """
    if not len(steps):
        return math.nan
    order = torch.argsort(steps, stable=True)
    return probe_auc(keys[order], steps[order] > steps[order][(len(steps) - 1) // 2])


def neighbour_jaccard(stored: Tensor, now: Tensor, k: int = 10) -> NDArray[np.float64]:
    """(N,) Jaccard index of the k nearest neighbours among the stored vectors and among the same encoded now."""
    sets = [_neighbours(one, min(k, len(one) - 1)) for one in (stored, now)]
    shared = (sets[0][:, :, None] == sets[1][:, None]).sum((1, 2)).double()
    return (shared / (2 * sets[0].shape[1] - shared)).cpu().numpy()


def _neighbours(points: Tensor, k: int) -> Tensor:
    similar = (points.double() @ points.double().T).fill_diagonal_(-math.inf)
    return similar.topk(k, dim=1).indices


def chance_jaccard(rows: int, k: int = 10) -> float:
    """`neighbour_jaccard` on average where neighbours are drawn at random: the mean of i / (2k - i), i hypergeometric
    with k of N - 1 drawn and k right."""
    others, k = rows - 1, min(k, rows - 1)
    drawn = range(max(0, 2 * k - others), k + 1)
    chances = [math.comb(k, i) * math.comb(others - k, k - i) / math.comb(others, k) for i in drawn]
    return sum(chance * i / (2 * k - i) for i, chance in zip(drawn, chances, strict=True))


def age_slope(queries: Tensor, keys: Tensor, ages: Tensor, negative: Tensor) -> float:
    """beta of the least-squares line <q, k_j> ~ age_j over the pairs where `negative` (N, K): 0 = age does not matter.

    `ages` (K,) in steps. NaN where all negatives are of one age.
    """
    similar = (queries.double() @ keys.double().T)[negative]
    age = ages.double()[None].expand(negative.shape)[negative]
    apart = age - age.mean() if len(age) else age
    spread = float(apart.square().sum())
    return float((apart * similar).sum()) / spread if spread else math.nan


def linear_cka(first: Tensor, second: Tensor) -> float:
    """|Y'X|^2 / (|X'X| |Y'Y|) of centred vectors of the same N samples, Frobenius norms: 1 = equal up to rotation and
    scale; NaN where either is one point."""
    x, y = (one.double() - one.double().mean(0) for one in (first, second))
    scale = float((x.T @ x).norm() * (y.T @ y).norm())
    return float((y.T @ x).square().sum()) / scale if scale else math.nan


def chance_cka(first: Tensor, second: Tensor, seed: int = 0) -> float:
    """`linear_cka` where the samples of the second are dealt at random; above 0, and the more so the fewer they are."""
    dealt = np.random.default_rng(seed).permutation(len(second))
    return linear_cka(first, second[torch.from_numpy(dealt)])
