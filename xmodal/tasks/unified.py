"""UTO, the unified training objective of USER (Zhang et al., IEEE TIP 33, 2024), read from the released code: the HAL
loss (Liu et al., AAAI 2020) on the batch and on two queues.

    phi(S)  = (1 / mu) log(1 + sum_{s in S} exp(mu (s - gamma)))        a soft max(0, max S - gamma)
    L_i     = phi({s_ij : j in N_i}) - (1 / |P_i|) sum_{j in P_i} log(1 + max(0, s_ij))
    L_batch = 1/B sum_i [phi over i2t + phi over t2i - the positive term once]      s of the query encoder on both sides
    L_queue = 1/B sum_i [L_i of i2t + L_i of t2i]        own key as the positive, stored keys as negatives
    L       = queue_weight L_queue + batch_weight L_batch

s are cosines: no margin, no temperature. `fn_policy` says what N and P are; `none` is the released loss. With mu = 90
the hardest negative takes nearly the whole gradient, so a false negative that is the hardest takes it all. A positive
with s <= 0 has no gradient: `figures` tells the share of such pairs. exp(mu (s - gamma)) overflows half precision at
s = 0.63, so all of this is float32, as a logsumexp. The loss is negative at good solutions.
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import relu

from xmodal.distributed import share_of_mean
from xmodal.encodings import Direction, Encodings
from xmodal.policies import POLICIES, Policy
from xmodal.rows import logsumexp, shared
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class UTO(Settings):
    """USER's unified training objective."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""
    mu: float = Field(default=90.0, gt=0)
    """Sharpness: towards infinity only the hardest negative counts."""
    gamma: float = Field(default=0.5, ge=-1, le=1)
    """Similarity from which on a negative counts."""
    batch_weight: float = Field(default=20.0, ge=0)
    """lambda, factor of the part within the batch: USER 20 on Flickr30K, 1 on COCO; 0 leaves it out."""
    queue_weight: float = Field(default=1.0, ge=0)
    """Factor of the part over the queue: USER 1; 0 leaves it out."""
    fn_policy: Literal["mask", "soft", "none"] = "mask"
    """Candidates related to the query: `mask` takes them out of the negatives, `soft` makes them positives too, `none`
    counts all of them as negatives (USER)."""

    @model_validator(mode="after")
    def _something_is_left(self) -> "UTO":
        if self.batch_weight == self.queue_weight == 0:
            raise ValueError("batch_weight and queue_weight are both 0: nothing would be trained")
        return self

    def build(self, sizes: Sizes) -> "Unified":
        measure, policy = SoftHinge(self.mu, self.gamma), POLICIES[self.fn_policy]
        parts = [
            Part(self.batch_weight, 0.5, within_batch, measure, policy),
            Part(self.queue_weight, 1.0, over_queue, measure, policy),
        ]
        return Unified([part for part in parts if part.weight > 0])


class Unified(nn.Module):
    """The task; it has no parameters."""

    def __init__(self, parts: "list[Part]"):
        super().__init__()
        self.parts = parts

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over valid rows, a scalar."""
        losses = torch.stack([part(encodings) for part in self.parts]).sum(0)
        return share_of_mean(losses, encodings.batch.valid, encodings.count)

    @torch.no_grad()
    def figures(self, encodings: Encodings) -> dict[str, Tensor]:
        """`dead_positives`: this rank's share of the fraction of pairs whose own similarity is not above 0."""
        direction = self.parts[0].asked(encodings)[0][0]
        own = torch.where(direction.relations.own, direction.similarity, 0.0).sum(1)
        return {"dead_positives": share_of_mean((own <= 0).float(), encodings.batch.valid, encodings.count)}


Asked = Callable[[Encodings], tuple[list[Direction], Tensor]]
"""Both directions, and which of their candidates (N,) may be a negative or a further positive."""


def within_batch(encodings: Encodings) -> tuple[list[Direction], Tensor]:
    """Query vectors of the global batch on both sides, with gradient across workers."""
    return [encodings.batch_i2t, encodings.batch_t2i], encodings.gathered.valid


def over_queue(encodings: Encodings) -> tuple[list[Direction], Tensor]:
    """Stored keys; the own key, which a policy always takes as a positive, is the one that the batch has just made."""
    valid = encodings.candidates.valid
    stored = torch.arange(len(valid), device=valid.device) >= encodings.layout.rows
    return [encodings.i2t, encodings.t2i], valid & stored


class Part:
    """(B,) weighted losses of the rows against one kind of candidates, both directions together.

    `positive` is the factor of each direction's positive term: 1/2 where both directions see the same similarity and
    the objective counts it once.
    """

    def __init__(self, weight: float, positive: float, asked: Asked, measure: "SoftHinge", policy: Policy):
        self.weight, self.positive, self.asked = weight, positive, asked
        self.measure, self.policy = measure, policy

    def __call__(self, encodings: Encodings) -> Tensor:
        directions, valid = self.asked(encodings)
        return self.weight * torch.stack([one.rows(self, valid) for one in directions]).sum(0)

    def whole(self, direction: Direction, valid: Tensor) -> Tensor:
        allowed, positive = self.policy(direction.relations, valid)
        pulled = (shared(positive) * relu(direction.similarity).log1p()).sum(1)
        return self.measure(direction.similarity, allowed & ~positive) - self.positive * pulled

    def partials(self, direction: Direction, valid: Tensor) -> Tensor:
        allowed, positive = self.policy(direction.relations, valid)
        pulled = relu(direction.similarity).log1p().masked_fill(~positive, 0).sum(1)
        pushed = logsumexp(self.measure.excess(direction.similarity), allowed & ~positive)
        return torch.stack([pushed, pulled, positive.sum(1)], dim=1)

    def merged(self, partials: Tensor) -> Tensor:
        pushed, pulled, count = partials.unbind(2)
        return self.measure.over(pushed) - self.positive * pulled.sum(1) / count.sum(1)


class SoftHinge:
    """phi of the similarities (B, N) that a mask (B, N) selects, (B,); 0 where it selects none."""

    def __init__(self, mu: float, gamma: float):
        self.mu, self.gamma = mu, gamma

    def __call__(self, similarity: Tensor, selected: Tensor) -> Tensor:
        return self.over(self.excess(similarity).masked_fill(~selected, float("-inf")))

    def excess(self, similarity: Tensor) -> Tensor:
        """mu (s - gamma)."""
        return self.mu * (similarity - self.gamma)

    def over(self, excess: Tensor) -> Tensor:
        """(B, N) -> (B,) phi of all of them, or of the logsumexps of shares of them."""
        return torch.cat([excess.new_zeros(len(excess), 1), excess], dim=1).logsumexp(1) / self.mu
