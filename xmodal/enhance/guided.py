"""What SGE and CGE share: tokens moved towards a global vector of their image, each by how much it agrees with it."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def towards(tokens: Tensor, mask: Tensor, guide: Tensor, sharpness: float) -> Tensor:
    """r_i + p~_i g, p = softmax_i(sharpness <g, r_i>), p~ = p / (||p||_2 + 1e-8): (B, T, W), (B, T), unit g (B, W).

    The norm after the softmax is the l2 norm, as in USER's released code: the weights do not sum to 1.
    """
    agreement = (tokens @ guide[..., None])[..., 0].float() * sharpness
    share = masked_softmax(agreement, mask)
    weight = share / (share.norm(dim=1, keepdim=True) + 1e-8)
    return tokens + weight.to(tokens.dtype)[..., None] * guide[:, None]


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """(B, T) softmax over real places; 0 at the others, and everywhere in a row that has none."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(1) * mask


def unit(vectors: Tensor) -> Tensor:
    """x / ||x||, in float32."""
    return normalize(vectors.float(), dim=-1).to(vectors.dtype)
