"""AttentionRecord: everything that constraints and measures of attention may know of a host's matched pairs."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Direction = Literal["t2i", "i2t"]
"""t2i: words attend to regions. i2t: regions attend to words."""


@dataclass(frozen=True)
class AttentionRecord:
    """P matched pairs; n query fragments of each attend to m key fragments. Gradients are attached."""

    sim: Tensor
    """S (P, n, m), raw q.k in the space in which relevance is a cosine."""
    weight: Tensor
    """W (P, n, m), rows sum to 1 over valid keys: the weights the host really uses, before any dropout."""
    gram: Tensor
    """G (P, m, m), k.k."""
    query_norm: Tensor
    """(P, n) |q|."""
    query_mask: Tensor
    """(P, n) bool, real fragments."""
    key_mask: Tensor
    """(P, m) bool."""
    query_group: Tensor | None
    """(P, n) int64 ids of words (`xmodal.words`), from ANIMAL on of the animal's names; -1 = not eligible as a
    negative. Equal words, and those of the animal's names, are never negatives of each other."""
    direction: Direction
