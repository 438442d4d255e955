"""Base attention of SCAN and its followers, on raw dot products (Lee et al., ECCV 2018, eq. 2-4 and 9-10).

    x_ij = LeakyReLU_0.1(q_i . k_j)
    x_ij <- x_ij / (sqrt(sum_i' x_i'j^2) + 1e-8)      over the queries, separately for every key
    w_ij = softmax_j(lambda x_ij)                      over the keys

A query's weights depend on the other queries of its row, so padding is left out before the first norm: dots of padded
fragments are 0 (`sides.Side`). Axes are those of `sides.dots` (I, R, C, L).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from xmodal.encoders.blocks import MASKED
from xmodal.matchers.sides import EPS

NormName = Literal["clipped_l2norm", "l2norm", "softmax", "clipped", "no_norm", "l1norm", "clipped_l1norm"]
Norm = Callable[[Tensor, Tensor, int], Tensor]
"""(dots, query mask that broadcasts to them, query axis) -> x, the same shape."""


def clipped(x: Tensor) -> Tensor:
    return leaky_relu(x, 0.1)


def over_l2(x: Tensor, axis: int) -> Tensor:
    """x over its l2 norm along the axis."""
    return x / (torch.linalg.vector_norm(x, dim=axis, keepdim=True) + EPS)


def over_l1(x: Tensor, axis: int) -> Tensor:
    """x over its l1 norm along the axis."""
    return x / (x.abs().sum(axis, keepdim=True) + EPS)


NORMS: dict[str, Norm] = {
    "clipped_l2norm": lambda x, mask, axis: over_l2(clipped(x), axis),
    "l2norm": lambda x, mask, axis: over_l2(x, axis),
    "softmax": lambda x, mask, axis: masked_softmax(x, mask, axis),
    "clipped": lambda x, mask, axis: clipped(x),
    "no_norm": lambda x, mask, axis: x,
    "l1norm": lambda x, mask, axis: over_l1(x, axis),
    "clipped_l1norm": lambda x, mask, axis: over_l1(clipped(x), axis),
}
"""SCAN's `raw_feature_norm`. Its release names the last two and crashes on them (`l1norm_d` is undefined there)."""


def masked_softmax(x: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Softmax over the places of `mask` along the axis, 0 elsewhere; rows without any place are 0."""
    return x.masked_fill(~mask, MASKED).softmax(axis).masked_fill(~mask, 0)


Focus = Callable[[Tensor, Tensor, int], Tensor]
"""(weights, key mask that broadcasts to them, key axis) -> weights."""


def keep_all(weights: Tensor, mask: Tensor, axis: int) -> Tensor:
    return weights


def focal_equal(weights: Tensor, mask: Tensor, axis: int) -> Tensor:
    """BFAN equal (Liu et al., ACM MM 2019): keeps key j where m w_j - sum_t w_t > 0, m the valid keys."""
    with torch.no_grad():
        keep = weights * mask.sum(axis, keepdim=True) - weights.sum(axis, keepdim=True) > 0
    return _refocused(weights, keep, axis)


def focal_prob(weights: Tensor, mask: Tensor, axis: int) -> Tensor:
    """BFAN prob: keeps key j where sum_t (w_j - w_t) sqrt(w_t) > 0, in closed form w_j > sum w^1.5 / sum w^0.5."""
    with torch.no_grad():
        root = weights.sqrt()
        keep = weights * root.sum(axis, keepdim=True) - (weights * root).sum(axis, keepdim=True) > 0
    return _refocused(weights, keep, axis)


def _refocused(weights: Tensor, keep: Tensor, axis: int) -> Tensor:
    """Kept weights, summing to 1. Where uniform weights keep nothing the release divides 0 by 0; here all are kept."""
    kept = weights * (keep | ~keep.any(axis, keepdim=True))
    return kept / kept.sum(axis, keepdim=True).clamp_min(1e-30)


FOCUS: dict[str, Focus] = {"equal": focal_equal, "prob": focal_prob}
