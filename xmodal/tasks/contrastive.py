"""ITC, image-text contrast over the keys of all ranks and the queue.

    L_i2t = -sum_j y_ij log softmax_j(<f_i, e^m_j> / tau),   L_itc = w L_i2t + (1 - w) L_t2i

(ALBEF, Li et al., NeurIPS 2021, eq. 1-2 and 6; with one positive and no distillation MoCo's InfoNCE, He et al., CVPR
2020, eq. 1). Candidates j are the key vectors of the whole global batch, then the queue; only the queries get a
gradient. `fn_policy` says what becomes of related candidates, which a single positive would count as false negatives.
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.distributed import share_of_mean
from xmodal.encodings import Direction, Encodings
from xmodal.momentum import Distillation
from xmodal.relations import Relations
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class ITC(Settings):
    """Image-text contrastive task."""

    weight: float = Field(default=1.0, gt=0)
    """Factor of the loss in the total."""
    fn_policy: Literal["mask", "soft", "none"] = "mask"
    """Candidates related to the query: `mask` takes them out of the denominator, `soft` makes positives share the
    target (1 / |P|, as ALBEF's retrieval), `none` counts all of them as negatives (MoCo, USER)."""
    distillation: Distillation | None = None
    """Momentum distillation; without it targets come from the relations alone."""
    i2t_weight: float = Field(default=0.5, ge=0, le=1)
    """w, share of the image-to-text direction."""

    def build(self, sizes: Sizes) -> "Contrastive":
        soften = DistilledTargets(self.distillation) if self.distillation else HardTargets()
        return Contrastive(POLICIES[self.fn_policy], soften, self.i2t_weight)


class Contrastive(nn.Module):
    """The task; it has no parameters beyond the temperature."""

    def __init__(self, policy: "Policy", soften: "HardTargets | DistilledTargets", i2t_weight: float):
        super().__init__()
        self.policy, self.soften, self.i2t_weight = policy, soften, i2t_weight

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over valid rows, a scalar."""
        i2t, t2i = self._row_losses(encodings, encodings.i2t), self._row_losses(encodings, encodings.t2i)
        losses = self.i2t_weight * i2t + (1 - self.i2t_weight) * t2i
        return share_of_mean(losses, encodings.batch.valid, encodings.count)

    def _row_losses(self, encodings: Encodings, direction: Direction) -> Tensor:
        allowed, targets = self.policy(direction.relations, encodings.candidates.valid)
        targets = self.soften(targets, allowed, direction, encodings.samples_seen)
        return cross_entropy(direction.logits, targets, allowed)


Policy = Callable[[Relations, Tensor], tuple[Tensor, Tensor]]
"""(relations, valid (N,)) -> (allowed (B, N) bool, targets (B, N) with rows that sum to 1)."""


def mask(relations: Relations, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The own key against the unrelated ones."""
    return relations.own | (relations.unrelated & valid), relations.own.float()


def soft(relations: Relations, valid: Tensor) -> tuple[Tensor, Tensor]:
    """All positives share the target; ignored candidates leave the denominator."""
    positive = relations.own | (relations.positive & valid)
    return positive | (relations.unrelated & valid), positive / positive.sum(1, keepdim=True)


def none(relations: Relations, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The own key against every other."""
    return relations.own | valid[None], relations.own.float()


POLICIES: dict[str, Policy] = {"mask": mask, "soft": soft, "none": none}


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
