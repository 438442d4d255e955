"""CCR and CCS: contrastive constraints on cross-modal attention (Chen et al., WACV 2023), as read in docs/method.md.

For a query fragment q_i of a matched pair with weights w_ij over m valid keys k_j and attended content a_i:

    CCR   what_ij = (1 - w_ij) / (m - 1),   ahat_i = sum_j what_ij k_j
          l_i = max(0, gamma - r(q_i, a_i) + r(q_i, ahat_i))            what is attended beats what is not
    CCS   l_i = max(0, gamma - r(q_i, a_i) + r(q_i, a_j))               content swapped for that of fragment j
          l_i = max(0, gamma - r(q_i, a_i) + r(q_j, a_i))               or the query swapped

Everything here is a function of records: it knows no host, no model and no batch. Losses of fragments are averaged
within their pair, over those for which the loss is defined.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from xmodal.matchers.record import AttentionRecord
from xmodal.relevance import Relevance, attends
from xmodal.words import ANIMAL, EVERY, NONE


class Losses(NamedTuple):
    """One loss a fragment, what it compared, and where it is defined; (P, n) each."""

    loss: Tensor
    positive: Tensor
    """r(q_i, a_i)."""
    negative: Tensor
    """Relevance after re-sourcing or swapping."""
    valid: Tensor
    """bool; a fragment that is not counts nowhere."""

    def of_pairs(self) -> tuple[Tensor, Tensor]:
        """(P,) mean over the valid fragments of each pair, and whether it has any."""
        counted = self.valid.sum(1)
        return self.loss.masked_fill(~self.valid, 0).sum(1) / counted.clamp(min=1), counted > 0

    def measures(self) -> dict[str, Tensor]:
        """(P, n) of every fragment, without gradient: whether it has a loss (0 or 1), relevances before and after."""
        named = {"active": (self.loss > 0).to(self.loss), "r_pos": self.positive, "r_neg": self.negative}
        return {name: one.detach() for name, one in named.items()}


Reverse = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(weights (P, n, m), key mask (P, 1, m)) -> (reversed weights, (P, n) where they are defined)."""


def one_minus(weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(1 - w_ij) / (m - 1) at valid keys; undefined for a single key."""
    return _normalised(torch.where(mask, 1 - weight, torch.zeros_like(weight)), mask.sum(-1) > 1)


def max_minus(weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(max_j w_ij - w_ij) / sum: the top key gets exactly 0; undefined for uniform weights."""
    top = weight.amax(-1, keepdim=True)
    left = torch.where(mask, top - weight, torch.zeros_like(weight))
    return _normalised(left, left.detach().sum(-1) > 1e-6)


HELD = 0.9
"""Share of the weights that the attended keys hold, for `bottom_mass`."""


def bottom_mass(weight: Tensor, mask: Tensor, held: float = HELD) -> tuple[Tensor, Tensor]:
    """Evenly over the keys outside the smallest set that holds the share `held` of the weights; undefined where that
    set is all of them, and for uniform weights, of which any set is as good."""
    seen = weight.detach().masked_fill(~mask, 0)
    falling, order = seen.sort(dim=-1, descending=True, stable=True)
    needed = falling.cumsum(-1) - falling < held * falling.sum(-1, keepdim=True)
    outside = mask & ~torch.zeros_like(needed).scatter(-1, order, needed)
    apart = seen.amax(-1) - seen.masked_fill(~mask, torch.inf).amin(-1) > 1e-6
    return _normalised(outside.to(weight), outside.any(-1) & apart)


def _normalised(left: Tensor, defined: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.where(defined[..., None], left.sum(-1, keepdim=True), torch.ones_like(left[..., :1]))
    return left / total, defined.expand(left.shape[:-1])


REVERSES: dict[str, Reverse] = {"one_minus": one_minus, "max_minus": max_minus, "bottom_mass": bottom_mass}


def resourcing(record: AttentionRecord, relevance: Relevance, reverse: Reverse, margin: float) -> Losses:
    """CCR."""
    reversed_weight, defined = reverse(record.weight, record.key_mask[:, None])
    positive, negative = relevance.of(record.weight), relevance.of(reversed_weight)
    return Losses((margin - positive + negative).relu(), positive, negative, attends(record) & defined)


Mine = Callable[[Tensor, Tensor], Tensor]
"""(negatives (P, n, n'), allowed (P, n, n') with one in every row that counts) -> (P, n) the negative to compare with.
"""


def hardest(negatives: Tensor, allowed: Tensor) -> Tensor:
    """The most relevant of the allowed."""
    return negatives.masked_fill(~allowed, -torch.inf).amax(-1)


def drawn(noise: Tensor) -> Mine:
    """One of the allowed, each with equal probability, by the largest `noise` (P, n, n')."""

    def mine(negatives: Tensor, allowed: Tensor) -> Tensor:
        chosen = noise.masked_fill(~allowed, -torch.inf).argmax(-1, keepdim=True)
        return negatives.gather(-1, chosen).squeeze(-1)

    return mine


def fragments_of_the_same_pair(record: AttentionRecord) -> Tensor:
    """(P, n, n) which fragments j may be swapped in for i: eligible ones of another word; the words of the animal's
    names, and those for any animal, are one."""
    n = record.query_mask.shape[1]
    allowed = eligible(record)[:, None] & ~torch.eye(n, dtype=torch.bool, device=record.query_mask.device)
    if record.query_group is None:
        return allowed
    thing = record.query_group.masked_fill(record.query_group == EVERY, ANIMAL).clamp(max=ANIMAL)
    return allowed & (thing[..., None] != thing[:, None])


def fragments_of_another_pair(record: AttentionRecord, other: AttentionRecord) -> Tensor:
    """(P, n, n') which fragments of `other` may be swapped in for i: eligible ones of a word that this pair's text does
    not have, be it part of a name or not, and that is not true of every animal."""
    allowed = eligible(other)
    if record.query_group is not None and other.query_group is not None:
        own = record.query_group.masked_fill(~eligible(record), NONE) % ANIMAL
        theirs = other.query_group % ANIMAL
        allowed = allowed & (own[..., None] != theirs[:, None]).all(1) & (theirs != EVERY)
    return allowed[:, None].expand(-1, record.query_mask.shape[1], -1)


def eligible(record: AttentionRecord) -> Tensor:
    """(P, n) fragments that may be negatives at all."""
    return record.query_mask if record.query_group is None else record.query_mask & (record.query_group >= 0)


Swap = Callable[[Tensor, Tensor], list[Tensor]]
"""(content, query) relevances (P, n, n') -> those that count."""

SWAPS: dict[str, Swap] = {
    "content": lambda content, query: [content],
    "query": lambda content, query: [query],
    "both": lambda content, query: [content, query],
}


def swapping(
    record: AttentionRecord,
    other: AttentionRecord,
    relevance: Relevance,
    allowed: Tensor,
    swap: Swap,
    mine: Mine,
    margin: float,
) -> Losses:
    """CCS with the fragments of `other` (the record itself, or another caption's on the same keys) that are allowed.
    Where content and query are both swapped, the loss is the mean of the two."""
    positive, valid = relevance.of(record.weight), attends(record) & allowed.any(-1)
    negatives = [_mined(one, allowed, mine, valid) for one in swap(*relevance.swapped(other))]
    losses = torch.stack([(margin - positive + negative).relu() for negative in negatives]).mean(0)
    return Losses(losses, positive, torch.stack(negatives).mean(0), valid)


def _mined(negatives: Tensor, allowed: Tensor, mine: Mine, valid: Tensor) -> Tensor:
    """(P, n), finite in value and slope where nothing is allowed."""
    return mine(negatives, allowed | ~valid[..., None])
