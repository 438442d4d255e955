"""ITC, image-text contrast over the keys of all ranks and the queue.

    L_i2t = -sum_j y_ij log softmax_j(<f_i, e^m_j> / tau),   L_itc = w L_i2t + (1 - w) L_t2i

(ALBEF, Li et al., NeurIPS 2021, eq. 1-2 and 6; with one positive and no distillation MoCo's InfoNCE, He et al., CVPR
2020, eq. 1). Candidates j are the key vectors of the whole global batch, then the queue; only the queries get a
gradient. `fn_policy` says what becomes of related candidates, which a single positive would count as false negatives.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.distributed import share_of_mean
from xmodal.encodings import Direction, Encodings
from xmodal.momentum import Distillation
from xmodal.policies import POLICIES, Policy, soft
from xmodal.rows import logsumexp, shared
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class ITC(Settings):
    """Image-text contrastive task."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""
    fn_policy: Literal["mask", "soft", "none", "unicon", "mil"] = "mask"
    """Candidates related to the query: `mask` takes them out of the denominator, `soft` makes positives share the
    target (1 / |P|, as ALBEF's retrieval), `none` counts all of them as negatives (MoCo, USER), `unicon` sets every
    positive against every negative (UniMoCo), `mil` asks that some positive be near (MIL-NCE); these two take no
    distillation."""
    distillation: Distillation | None = None
    """Momentum distillation; without it targets come from the relations alone."""
    i2t_weight: float = Field(default=0.5, ge=0, le=1)
    """w, share of the image-to-text direction."""

    @model_validator(mode="after")
    def _some_have_no_targets(self) -> "ITC":
        if self.fn_policy in UNTARGETED and self.distillation is not None:
            raise ValueError(
                f"fn_policy {self.fn_policy} has no targets that a distillation could soften; take mask or soft"
            )
        return self

    def build(self, sizes: Sizes) -> "Contrastive":
        if self.fn_policy in UNTARGETED:
            return Contrastive(UNTARGETED[self.fn_policy](), self.i2t_weight)
        policy = POLICIES[self.fn_policy]
        loss = Distilled(policy, self.distillation) if self.distillation else CrossEntropy(policy)
        return Contrastive(loss, self.i2t_weight)


class Contrastive(nn.Module):
    """The task; it has no parameters beyond the temperature."""

    def __init__(self, row_losses: "CrossEntropy | Distilled | UniCon | MILNCE", i2t_weight: float):
        super().__init__()
        self.row_losses, self.i2t_weight = row_losses, i2t_weight

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over valid rows, a scalar."""
        i2t, t2i = self.row_losses(encodings, encodings.i2t), self.row_losses(encodings, encodings.t2i)
        losses = self.i2t_weight * i2t + (1 - self.i2t_weight) * t2i
        return share_of_mean(losses, encodings.batch.valid, encodings.count)


class CrossEntropy:
    """(B,) cross entropy of the targets that the relations give. In shares: the logsumexp of all allowed logits less
    the mean logit of the positives."""

    def __init__(self, policy: Policy):
        self.policy = policy

    def __call__(self, encodings: Encodings, direction: Direction) -> Tensor:
        return direction.rows(self, encodings.candidates.valid)

    def whole(self, direction: Direction, valid: Tensor) -> Tensor:
        allowed, positive = self.policy(direction.relations, valid)
        return cross_entropy(direction.logits, shared(positive), allowed)

    def partials(self, direction: Direction, valid: Tensor) -> Tensor:
        allowed, positive = self.policy(direction.relations, valid)
        pulled = direction.logits.masked_fill(~positive, 0).sum(1)
        return torch.stack([logsumexp(direction.logits, allowed), pulled, positive.sum(1)], dim=1)

    def merged(self, partials: Tensor) -> Tensor:
        total, pulled, count = partials.unbind(2)
        return total.logsumexp(1) - pulled.sum(1) / count.sum(1)


class Distilled:
    """(B,) cross entropy of y <- alpha softmax(key logits) + (1 - alpha) y, over the same allowed candidates, all of
    which must be at hand."""

    def __init__(self, policy: Policy, settings: Distillation):
        self.policy, self.settings = policy, settings

    def __call__(self, encodings: Encodings, direction: Direction) -> Tensor:
        allowed, positive = self.policy(direction.relations, encodings.candidates.valid)
        alpha = self.settings.share(encodings.samples_seen)
        told = masked_log_softmax(direction.key_logits, allowed).exp()
        return cross_entropy(direction.logits, alpha * told + (1 - alpha) * shared(positive), allowed)


class OfShares(ABC):
    """A loss of each row that is one share's where all candidates are at hand."""

    def __call__(self, encodings: Encodings, direction: Direction) -> Tensor:
        return direction.rows(self, encodings.candidates.valid)

    def whole(self, direction: Direction, valid: Tensor) -> Tensor:
        return self.merged(self.partials(direction, valid)[:, None])

    @abstractmethod
    def partials(self, direction: Direction, valid: Tensor) -> Tensor:
        """As `xmodal.rows.RowLoss`."""

    @abstractmethod
    def merged(self, partials: Tensor) -> Tensor:
        """As `xmodal.rows.RowLoss`."""


class UniCon(OfShares):
    """(B,) log(1 + sum_{n in N} exp(s_n) sum_{p in P} exp(-s_p)), s the logits (Dai et al., arXiv 2103.10773): with one
    positive it is the cross entropy. Ignored candidates are in neither sum. It is the softplus of two logsumexps, which
    no logit makes overflow."""

    def partials(self, direction: Direction, valid: Tensor) -> Tensor:
        allowed, positive = soft(direction.relations, valid)
        against = logsumexp(direction.logits, allowed & ~positive)
        return torch.stack([against, logsumexp(-direction.logits, positive)], dim=1)

    def merged(self, partials: Tensor) -> Tensor:
        apart = partials.logsumexp(1).sum(1)
        return torch.logaddexp(apart, torch.zeros_like(apart))  # torch's softplus is cut off at 20


class MILNCE(OfShares):
    """(B,) -log(sum_{p in P} exp(s_p) / sum_{j allowed} exp(s_j)), s the logits (Miech et al., CVPR 2020): with one
    positive it is the cross entropy. Ignored candidates are in neither sum."""

    def partials(self, direction: Direction, valid: Tensor) -> Tensor:
        allowed, positive = soft(direction.relations, valid)
        return torch.stack([logsumexp(direction.logits, allowed), logsumexp(direction.logits, positive)], dim=1)

    def merged(self, partials: Tensor) -> Tensor:
        every, near = partials.logsumexp(1).unbind(1)
        return every - near


UNTARGETED = {"unicon": UniCon, "mil": MILNCE}
"""Losses by `fn_policy` that are no cross entropy of targets."""


def masked_log_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log softmax over the allowed columns, -inf elsewhere; every row must allow one."""
    return logits.masked_fill(~allowed, float("-inf")).log_softmax(1)


def cross_entropy(logits: Tensor, targets: Tensor, allowed: Tensor) -> Tensor:
    """(B,) cross entropy over the allowed columns; targets are 0 elsewhere."""
    return -(targets * masked_log_softmax(logits, allowed).masked_fill(~allowed, 0)).sum(1)
