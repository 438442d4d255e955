"""CCR, contrastive content re-sourcing (Chen et al., WACV 2023; a documented reading, docs/method.md).

    L_ccr = sum_dir mean_i max(0, gamma - r(q_i, a_i) + r(q_i, ahat_i)),    ahat_i = sum_j what_ij k_j

over the matched pairs of the model's host: what a fragment attends to must be more relevant to it than what it gets by
reversed attention. Pairs are reduced as the host's own loss is.
"""

from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.constraint_figures import figures
from xmodal.constraints import HELD, REVERSES, Losses, Reverse, bottom_mass, resourcing
from xmodal.encodings import Encodings
from xmodal.relevance import Cosine
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class CCR(Settings):
    """Contrastive content re-sourcing."""

    weight: float = Field(default=0.1, ge=0)
    """lambda, factor of the loss in the total; 0 = without it."""
    margin: float = Field(default=0.2, ge=0)
    """gamma, by which attended content must be more relevant."""
    reverse: Literal["one_minus", "max_minus", "bottom_mass"] = "one_minus"
    """Reversed weights: 1 - w, max w - w (which gives the top key nothing), or all of it evenly on the keys outside the
    smallest set that holds `held` of the weights."""
    held: float = Field(default=HELD, gt=0, lt=1)
    """Share of the weights for `bottom_mass`."""

    def build(self, sizes: Sizes) -> "Resourcing":
        reverses = REVERSES | {"bottom_mass": partial(bottom_mass, held=self.held)}
        return Resourcing(reverses[self.reverse], self.margin)


class Resourcing(nn.Module):
    """The task; it has no weights."""

    def __init__(self, reverse: Reverse, margin: float):
        super().__init__()
        self.reverse, self.margin = reverse, margin

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global loss, a scalar."""
        hosted, valid = encodings.hosted, encodings.batch.valid
        pairs = [one.of_pairs() for one in self.losses(encodings)]
        return torch.stack([hosted.reduce(means, has & valid) for means, has in pairs]).sum()

    def losses(self, encodings: Encodings) -> list[Losses]:
        """One entry a direction of the host."""
        records = encodings.hosted.records
        return encodings.once(
            self, lambda: [resourcing(one, Cosine(one), self.reverse, self.margin) for one in records]
        )

    def figures(self, encodings: Encodings) -> dict[str, Tensor]:
        """`xmodal.constraint_figures` of the batch."""
        return figures(self.losses(encodings), encodings.hosted.records, encodings.batch.valid)
