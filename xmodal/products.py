"""Cosines of queries with keys, in float32 however the keys are stored."""

from typing import Any

import torch
from torch import Tensor

CHUNK = 8192
"""Keys that are widened at a time: what bounds memory."""


def plain(vectors: Tensor, keys: Tensor) -> Tensor:
    """(M, D), (C, D) float32 -> (M, C)."""
    return vectors.float() @ keys.T


def widened(vectors: Tensor, keys: Tensor) -> Tensor:
    """As `plain`, of bfloat16 keys that need no gradient; they are made float32 part by part, in both passes."""
    product: Tensor = _Widened.apply(vectors.float(), keys)  # pyright: ignore[reportAssignmentType]
    return product


class _Widened(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, keys: Tensor) -> Tensor:
        ctx.save_for_backward(keys)
        return torch.cat([vectors @ part.float().T for part in keys.split(CHUNK)], dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (keys,) = ctx.saved_tensors
        parts = zip(gradients[0].split(CHUNK, dim=1), keys.split(CHUNK), strict=True)
        first, *others = (gradient @ part.float() for gradient, part in parts)
        for other in others:
            first += other
        return first, None
