"""Exact search: all images against one vector, the best first. Up to some 100,000 vectors no index is quicker than this
on a CPU (docs/performance.md), and it finds what there is."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

AT_ONCE = 1 << 16
"""Vectors of a product; a mapped file of a million is never in memory as a whole by our doing."""
Vector = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Page:
    """Some of what was found."""

    images: Rows
    """Positions, best first."""
    scores: Vector
    total: int
    """Images among which they are the best."""


def cosines(vectors: Vector, query: Vector) -> Vector:
    """(N,) of unit vectors (N, D) with one (D,)."""
    found, asked = np.empty(len(vectors), np.float32), torch.from_numpy(np.ascontiguousarray(query))
    for begin in range(0, len(vectors), AT_ONCE):
        part = torch.from_numpy(vectors[begin : begin + AT_ONCE])
        torch.mv(part, asked, out=torch.from_numpy(found[begin : begin + AT_ONCE]))
    return found


def best(scores: Vector, among: Rows, begin: int, count: int) -> Page:
    """Places `begin` to `begin + count` of the images `among`, by falling `scores` (N,); of equal ones the first."""
    own = scores[among]
    last = min(begin + count, len(among))
    if last < len(among):
        least = np.partition(own, len(own) - last)[len(own) - last]
        near = np.flatnonzero(own >= least)
    else:
        near = np.arange(len(own))
    order = near[np.argsort(-own[near], kind="stable")][begin:last]
    return Page(among[order], own[order], len(among))
