"""Relevance of attended content to what asked for it, from an AttentionRecord.

With S = Q K^T, weights W and G = K K^T no attended vector is built, whatever its weights are:

    q_i . a_j = (S W^T)_ij,     |a_j|^2 = (W G W^T)_jj,     r(q_i, a_j) = q_i . a_j / (|q_i| |a_j|)

`Cosine` is this form: the relevance of all hosts here. Records of other queries of the same keys (another caption on
this image) are `other`.
"""

from typing import Protocol

import torch
from torch import Tensor

from xmodal.matchers.record import AttentionRecord


class Relevance(Protocol):
    """What the constraints ask of P pairs with n queries each."""

    def of(self, weight: Tensor) -> Tensor:
        """(P, n) r(q_i, sum_j weight_ij k_j) for any (P, n, m) weights that are 0 at masked keys."""
        ...

    def swapped(self, other: AttentionRecord) -> tuple[Tensor, Tensor]:
        """(P, n, n') r(q_i, a'_j) and r(q'_j, a_i): content, then query, exchanged with those of `other`."""
        ...


class Cosine:
    """The S-W-G form."""

    def __init__(self, record: AttentionRecord):
        self.record = record

    def of(self, weight: Tensor) -> Tensor:
        one = self.record
        return _cosine((one.sim * weight).sum(-1), one.query_norm, attended_norm(weight, one.gram))

    def swapped(self, other: AttentionRecord) -> tuple[Tensor, Tensor]:
        one = self.record
        theirs, own = attended_norm(other.weight, one.gram), attended_norm(one.weight, one.gram)
        content = _cosine(one.sim @ other.weight.transpose(1, 2), one.query_norm[..., None], theirs[:, None])
        query = _cosine(one.weight @ other.sim.transpose(1, 2), own[..., None], other.query_norm[:, None])
        return content, query


def attended_norm(weight: Tensor, gram: Tensor) -> Tensor:
    """(P, n) |sum_j w_ij k_j|."""
    return ((weight @ gram) * weight).sum(-1).clamp_min(1e-30).sqrt()


def _cosine(product: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """0, without gradient, where a vector has no direction: the slope there is beyond what half precision holds."""
    lengths = one * two
    return torch.where(lengths > 1e-6, product / lengths.clamp_min(1e-6), torch.zeros_like(lengths))


def entropy(record: AttentionRecord) -> Tensor:
    """(P, n) entropy of each query's weights over log m, in [0, 1]; 0 where there is one key."""
    weight = record.weight
    nats = -(weight * weight.clamp_min(1e-30).log()).sum(-1)
    return nats / record.key_mask.sum(-1, keepdim=True).clamp(min=2).to(weight.dtype).log()


def attends(record: AttentionRecord) -> Tensor:
    """(P, n) valid queries that have a key to attend to."""
    return record.query_mask & record.key_mask.any(-1, keepdim=True)
