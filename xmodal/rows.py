"""A loss of each row over candidates that lie in one place, or in shares.

A softmax over K stored keys does not need the K logits of a row in one place. Each share of the candidates says of a
row a few numbers (a masked logsumexp, a sum, a count), and from those of all shares follows the loss:

    log sum_j exp(s_j) = log sum_shares exp(log sum_{j in share} exp(s_j))
"""

from typing import Any, Protocol

from torch import Tensor

NOWHERE = -1e30
"""Logit of what a sum leaves out: finite, so that a row, or a share, without any has gradient 0 and not NaN."""


class RowLoss(Protocol):
    """M rows against C candidates; `direction` is a `xmodal.encodings.Direction`, `valid` (C,) those that count."""

    def whole(self, direction: Any, valid: Tensor) -> Tensor:
        """(M,) losses where all candidates are at hand."""
        ...

    def partials(self, direction: Any, valid: Tensor) -> Tensor:
        """(M, P) what one share of the candidates has to say of each row."""
        ...

    def merged(self, partials: Tensor) -> Tensor:
        """(M, shares, P) -> (M,) losses over the candidates of all shares."""
        ...


def logsumexp(scores: Tensor, selected: Tensor) -> Tensor:
    """(M,) over the selected of (M, C) scores; NOWHERE where there is none."""
    return scores.masked_fill(~selected, NOWHERE).logsumexp(1)


def shared(positive: Tensor) -> Tensor:
    """(M, C) targets that all positives of a row share alike; every row must have one."""
    return positive / positive.sum(1, keepdim=True)
