"""Entropy of attention as a penalty: the control for CCR and CCS, which sharpens without saying what is relevant.

    L = sum_dir mean_i H(w_i) / log m

over the matched pairs of the model's host, reduced as the host's own loss is.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.encodings import Encodings
from xmodal.relevance import attends, entropy
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class EntropyPenalty(Settings):
    """Entropy penalty on attention."""

    weight: float = Field(default=0.1, ge=0)
    """Factor of the loss in the total; 0 = without it."""

    def build(self, sizes: Sizes) -> "AttentionEntropy":
        return AttentionEntropy()


class AttentionEntropy(nn.Module):
    """The task; it has no weights."""

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global loss, a scalar."""
        losses = []
        for record in encodings.hosted.records:
            valid = attends(record)
            means = entropy(record).masked_fill(~valid, 0).sum(1) / valid.sum(1).clamp(min=1)
            losses.append(encodings.hosted.reduce(means, valid.any(1) & encodings.batch.valid))
        return torch.stack(losses).sum()
