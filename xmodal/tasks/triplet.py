"""Triplet loss over the scores of a cross-attention host (VSE++, Faghri et al., BMVC 2018, eq. 5 and 6; SCAN eq. 8).

    L = sum_i  max_j [gamma + s(I_i, T_j) - s(I_i, T_i)]_+  +  max_j [gamma + s(I_j, T_i) - s(I_i, T_i)]_+

with the hardest negative of the whole global batch, or the sum over all of them. Candidates that are related to a query
are no negatives of it (`fn_policy`); the hosts' code counts every other one.
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.encodings import Direction, Encodings
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class Triplet(Settings):
    """Hard-negative triplet task."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""
    margin: float = Field(default=0.2, ge=0)
    """gamma, by which the own pair must score higher."""
    mining: Literal["hardest", "all"] = "hardest"
    """The hardest negative of each query (`max_violation`), or the sum over all."""
    fn_policy: Literal["mask", "none"] = "mask"
    """Candidates related to the query: `mask` leaves them out, `none` counts all others as negatives (the releases)."""

    def build(self, sizes: Sizes) -> "HardTriplet":
        return HardTriplet(self.margin, MINING[self.mining], NEGATIVES[self.fn_policy])


def hardest(costs: Tensor) -> Tensor:
    return costs.amax(1)


def every(costs: Tensor) -> Tensor:
    return costs.sum(1)


def unrelated(direction: Direction) -> Tensor:
    return direction.relations.unrelated


def all_others(direction: Direction) -> Tensor:
    return ~direction.relations.own


MINING: dict[str, Callable[[Tensor], Tensor]] = {"hardest": hardest, "all": every}
NEGATIVES: dict[str, Callable[[Direction], Tensor]] = {"mask": unrelated, "none": all_others}


class HardTriplet(nn.Module):
    """The task; the weights are the host's."""

    def __init__(self, margin: float, mining: Callable[[Tensor], Tensor], negatives: Callable[[Direction], Tensor]):
        super().__init__()
        self.margin, self.mining, self.negatives = margin, mining, negatives

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global loss, a scalar; summed or averaged over rows as the host's settings say."""
        scores = encodings.hosted.scores
        losses = self._costs(encodings, scores.texts, encodings.i2t)
        losses = losses + self._costs(encodings, scores.images, encodings.t2i)
        return encodings.hosted.reduce(losses, encodings.batch.valid)

    def _costs(self, encodings: Encodings, scores: Tensor, direction: Direction) -> Tensor:
        """(B,) of local queries with (B, N) scores."""
        own = scores.gather(1, encodings.layout.own[:, None])
        count = scores.shape[1]
        allowed = self.negatives(direction)[:, :count] & encodings.candidates.valid[:count]
        costs = (self.margin + scores - own).relu()
        return self.mining(torch.where(allowed, costs, torch.zeros_like(costs)))
