"""What CCR and CCS tell of a batch beside their loss, so that a hinge that is dead everywhere can be seen.

active    share of the fragments with a loss; at 0 the constraint trains nothing
r_pos     mean r(q_i, a_i)
r_neg     mean relevance after re-sourcing or swapping
entropy   mean entropy of the fragments' weights over log m; 1 = attention is the same everywhere
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from xmodal.constraints import Losses
from xmodal.distributed import share_of_mean, sum_across
from xmodal.matchers.record import AttentionRecord
from xmodal.relevance import entropy


@torch.no_grad()
def figures(found: Sequence[Losses], records: Sequence[AttentionRecord], valid: Tensor) -> dict[str, Tensor]:
    """This rank's shares of the global means over all fragments that count, those of all directions (one entry of
    `found` and `records` each) and of the `valid` (B,) pairs; 0 where none counts anywhere."""
    counted = torch.cat([(one.valid & valid[:, None]).flatten() for one in found])
    total = sum_across(counted.sum())
    told = [one.measures() | {"entropy": entropy(record)} for one, record in zip(found, records, strict=True)]
    return {name: share_of_mean(torch.cat([one[name].flatten() for one in told]), counted, total) for name in told[0]}
