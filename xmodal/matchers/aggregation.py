"""From relevances of fragments to the similarity of a pair (SCAN, Lee et al., ECCV 2018, eq. 6-7)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

AggregationName = Literal["logsumexp", "mean", "max", "sum"]
Aggregation = Callable[[Tensor, Tensor], Tensor]
"""(r (I, C, n), mask that broadcasts to it) -> (I, C)."""


def mean(r: Tensor, mask: Tensor) -> Tensor:
    return total(r, mask) / mask.sum(-1).clamp(min=1)


def total(r: Tensor, mask: Tensor) -> Tensor:
    return r.masked_fill(~mask, 0).sum(-1)


def largest(r: Tensor, mask: Tensor) -> Tensor:
    """The best fragment; 0 where there is none."""
    best = r.masked_fill(~mask, -torch.inf).amax(-1)
    return best.masked_fill(~mask.any(-1), 0)


def log_sum_exp(r: Tensor, mask: Tensor, sharpness: float) -> Tensor:
    """(1 / lambda) log sum_i exp(lambda r_i), not divided by n; 0 where there is no fragment."""
    summed = (sharpness * r).masked_fill(~mask, -1e4).logsumexp(-1) / sharpness
    return summed.masked_fill(~mask.any(-1), 0)


def aggregation(name: AggregationName, sharpness: float) -> Aggregation:
    """The aggregation of that name; `sharpness` is lambda of logsumexp."""
    every: dict[str, Aggregation] = {
        "logsumexp": lambda r, mask: log_sum_exp(r, mask, sharpness),
        "mean": mean,
        "max": largest,
        "sum": total,
    }
    return every[name]
