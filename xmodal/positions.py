"""Where regions lie in an image: blocks of a 16 x 16 grid and how much of a region each holds (PFAN, section 3.2)."""

import math

import torch
from torch import Tensor

from xmodal.settings import SettingsError

GRID, SLOTS = 16, 15
OUTSIDE = GRID * GRID
"""Id of an empty slot; its weight is 0."""
POSITION = 2 * SLOTS
"""Numbers that say where a region lies: the ids of the blocks that it overlaps most, then their weights."""


def as_they_are(tokens: Tensor, features: Tensor) -> Tensor:
    """Tokens of an encoder that knows nothing of blocks."""
    return tokens


def with_blocks(tokens: Tensor, features: Tensor) -> Tensor:
    """Tokens (B, R, W) made of the first numbers of `features`, with the blocks that are the last: (B, R, W + 30)."""
    return torch.cat([tokens, features[:, : tokens.shape[1], -POSITION:]], dim=-1)


PLACED = {False: as_they_are, True: with_blocks}
"""By `image.positions`: what a cross-attention host is given of an image."""


def block_overlaps(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 4) boxes (x0, y0, x1, y1) relative to the image -> ids and weights (..., 15) of the blocks they overlap
    most: weight = overlap / sum of the overlaps kept."""
    edges = torch.linspace(0, 1, GRID + 1, dtype=boxes.dtype, device=boxes.device)
    wide, high = (_covered(boxes[..., axis], boxes[..., axis + 2], edges) for axis in (0, 1))
    overlap, ids = (high[..., :, None] * wide[..., None, :]).flatten(-2).topk(SLOTS, dim=-1)
    weights = overlap / overlap.sum(-1, keepdim=True).clamp_min(1e-30)
    return ids.masked_fill(overlap <= 0, OUTSIDE), weights


def _covered(low: Tensor, high: Tensor, edges: Tensor) -> Tensor:
    """(..., 16) length of [low, high] within each cell."""
    return (torch.minimum(high[..., None], edges[1:]) - torch.maximum(low[..., None], edges[:-1])).clamp_min(0)


def patch_boxes(patches: int) -> Tensor:
    """(R, 4) boxes of a square grid of patches, row by row. Raises SettingsError where R is no square."""
    side = math.isqrt(patches)
    if side * side != patches:
        raise SettingsError(
            f"model.matcher.kind pfan: {patches} regions are no square grid of patches; take precomputed regions with "
            "image.positions, or another matcher"
        )
    row, column = torch.arange(patches) // side, torch.arange(patches) % side
    return torch.stack([column, row, column + 1, row + 1], dim=1) / side
