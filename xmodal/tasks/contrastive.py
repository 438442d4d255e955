"""ITC, image-text contrast over the keys of all ranks and the queue.

    L_i2t = -sum_j y_ij log softmax_j(<f_i, e^m_j> / tau),   L_itc = w L_i2t + (1 - w) L_t2i

(ALBEF, Li et al., NeurIPS 2021, eq. 1-2 and 6; with one positive and no distillation MoCo's InfoNCE, He et al., CVPR
2020, eq. 1). Candidates j are the key vectors of the whole global batch, then the queue; only the queries get a
gradient. `fn_policy` says what becomes of related candidates, which a single positive would count as false negatives.
"""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.distributed import share_of_mean
from xmodal.encodings import Direction, Encodings
from xmodal.momentum import Distillation
from xmodal.policies import POLICIES, Policy, soft
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class ITC(Settings):
    """Image-text contrastive task."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""
    fn_policy: Literal["mask", "soft", "none", "unicon"] = "mask"
    """Candidates related to the query: `mask` takes them out of the denominator, `soft` makes positives share the
    target (1 / |P|, as ALBEF's retrieval), `none` counts all of them as negatives (MoCo, USER), `unicon` sets every
    positive against every negative (UniMoCo) and takes no distillation."""
    distillation: Distillation | None = None
    """Momentum distillation; without it targets come from the relations alone."""
    i2t_weight: float = Field(default=0.5, ge=0, le=1)
    """w, share of the image-to-text direction."""

    @model_validator(mode="after")
    def _unicon_has_no_targets(self) -> "ITC":
        if self.fn_policy == "unicon" and self.distillation is not None:
            raise ValueError("fn_policy unicon has no targets that a distillation could soften; take mask or soft")
        return self

    def build(self, sizes: Sizes) -> "Contrastive":
        if self.fn_policy == "unicon":
            return Contrastive(UniCon(), self.i2t_weight)
        soften = DistilledTargets(self.distillation) if self.distillation else HardTargets()
        return Contrastive(CrossEntropy(POLICIES[self.fn_policy], soften), self.i2t_weight)


class Contrastive(nn.Module):
    """The task; it has no parameters beyond the temperature."""

    def __init__(self, row_losses: "CrossEntropy | UniCon", i2t_weight: float):
        super().__init__()
        self.row_losses, self.i2t_weight = row_losses, i2t_weight

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over valid rows, a scalar."""
        i2t, t2i = self.row_losses(encodings, encodings.i2t), self.row_losses(encodings, encodings.t2i)
        losses = self.i2t_weight * i2t + (1 - self.i2t_weight) * t2i
        return share_of_mean(losses, encodings.batch.valid, encodings.count)


class CrossEntropy:
    """(B,) cross entropy of targets that the relations give and a distillation may soften."""

    def __init__(self, policy: Policy, soften: "HardTargets | DistilledTargets"):
        self.policy, self.soften = policy, soften

    def __call__(self, encodings: Encodings, direction: Direction) -> Tensor:
        allowed, targets = self.policy(direction.relations, encodings.candidates.valid)
        targets = self.soften(targets, allowed, direction, encodings.samples_seen)
        return cross_entropy(direction.logits, targets, allowed)


class UniCon:
    """(B,) log(1 + sum_{n in N} exp(s_n) sum_{p in P} exp(-s_p)), s the logits (Dai et al., arXiv 2103.10773): with one
    positive it is the cross entropy. Ignored candidates are in neither sum."""

    def __call__(self, encodings: Encodings, direction: Direction) -> Tensor:
        allowed, targets = soft(direction.relations, encodings.candidates.valid)
        return unicon(direction.logits, targets > 0, allowed & (targets == 0))


class HardTargets:
    """Targets as the relations give them."""

    def __call__(self, targets: Tensor, allowed: Tensor, direction: Direction, samples: int) -> Tensor:
        return targets


class DistilledTargets:
    """y <- alpha softmax(key logits) + (1 - alpha) y, over the same allowed candidates."""

    def __init__(self, settings: Distillation):
        self.settings = settings

    @torch.no_grad()
    def __call__(self, targets: Tensor, allowed: Tensor, direction: Direction, samples: int) -> Tensor:
        alpha = self.settings.share(samples)
        return alpha * masked_log_softmax(direction.key_logits, allowed).exp() + (1 - alpha) * targets


def masked_log_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log softmax over the allowed columns, -inf elsewhere; every row must allow one."""
    return logits.masked_fill(~allowed, float("-inf")).log_softmax(1)


def cross_entropy(logits: Tensor, targets: Tensor, allowed: Tensor) -> Tensor:
    """(B,) cross entropy over the allowed columns; targets are 0 elsewhere."""
    return -(targets * masked_log_softmax(logits, allowed).masked_fill(~allowed, 0)).sum(1)


NOWHERE = -1e30
"""Logit of what a sum leaves out: finite, so that a row without negatives has gradient 0 and not NaN."""


def unicon(logits: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """(B,) `UniCon` as softplus of two logsumexps, which no logit makes overflow; (B, N) logits and masks."""
    against = logits.masked_fill(~negatives, NOWHERE).logsumexp(1)
    apart = against + (-logits).masked_fill(~positives, NOWHERE).logsumexp(1)
    return torch.logaddexp(apart, torch.zeros_like(apart))  # torch's softplus is cut off at 20
