"""Hosted: what a host makes of one batch, and all that tasks know of it.

The triplet task reads `scores`, the constraints read `records` and `others`; neither knows which host it is, and the
constraints know no task.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from xmodal.distributed import global_mean, share_of_sum
from xmodal.matchers.record import AttentionRecord

Reduction = Callable[[Tensor, Tensor], Tensor]
"""(losses (B,), counted (B,)) -> this rank's share of the global loss."""


REDUCTIONS: dict[str, Reduction] = {"sum": share_of_sum, "mean": global_mean}


@dataclass(frozen=True)
class PairScores:
    """The local rows against the global batch."""

    texts: Tensor
    """(B, N) local images with all texts."""
    images: Tensor
    """(B, N) local texts with all images."""


class Hosted(Protocol):
    """What a host makes of a batch."""

    reduce: Reduction
    """As losses over this host's pairs are reduced."""

    @property
    def records(self) -> list[AttentionRecord]:
        """The local pairs, one record a direction; a word that says nothing is no query of theirs."""
        ...

    def other(self, record: AttentionRecord, rows: Tensor) -> AttentionRecord:
        """The queries of other samples, `rows` (B,) of the global batch, attending to the keys of `record`."""
        ...


def speaking(record: AttentionRecord) -> AttentionRecord:
    """The record with only those queries that say something: what is in no group is no query."""
    if record.query_group is None:
        return record
    return replace(record, query_mask=record.query_mask & (record.query_group >= 0))
