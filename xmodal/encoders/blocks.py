"""Pre-norm transformer blocks (Vaswani et al. 2017; pre-norm: Xiong et al. 2020) used by every built-in encoder.

A mask is an additive `bias` made once a forward by `key_bias` or `causal_bias`. Masked keys get weight 0 exactly, so
what stands in padded places changes no valid output; a row whose keys are all masked attends evenly and stays finite.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASKED = -30_000.0
"""Added to the scores of masked keys: finite in half precision too, and its exponential is 0 in every one."""
EACH = slice(None)
"""Row i attends to row i of its context."""


def key_bias(mask: Tensor, like: Tensor) -> Tensor:
    """(B, 1, 1, L) bias for a (B, L) bool mask, True at real keys; dtype and device of `like`."""
    return _bias(mask[:, None, None, :], like)


def causal_bias(length: int, like: Tensor) -> Tensor:
    """(1, 1, L, L) bias: position i attends to positions 0..i."""
    seen = torch.ones(length, length, dtype=torch.bool, device=like.device).tril()
    return _bias(seen[None, None], like)


def no_bias(like: Tensor) -> Tensor:
    """(1, 1, 1, 1) bias that masks nothing."""
    return torch.zeros(1, 1, 1, 1, dtype=like.dtype, device=like.device)


def _bias(seen: Tensor, like: Tensor) -> Tensor:
    return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill(~seen, MASKED)


class Attention(nn.Module):
    """Multi-head scaled dot-product attention of (B, L, width) queries to (B, M, context_width) keys and values."""

    def __init__(self, width: int, context_width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor, of: Tensor | slice = EACH) -> Tensor:
        """Row i attends to row `of[i]` of the context: keys and values of one that several rows share are made once."""
        query = self._split(self.query(x))
        key, value = (self._split(one[of]) for one in self.key_value(context).chunk(2, dim=-1))
        bias = bias.to(query.dtype).expand(x.shape[0], 1, x.shape[1], context.shape[1])
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))

    def weights(self, x: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        """(B, heads, L, M) float32 attention weights of `forward`, whose fast kernels do not give them."""
        query = self._split(self.query(x)).float()
        key = self._split(self.key_value(context).chunk(2, dim=-1)[0]).float()
        with torch.autocast(x.device.type, enabled=False):
            logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return (logits + bias.float()).softmax(-1)

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, width) as (B, heads, L, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Two linear layers with GELU between, four times as wide inside."""

    def __init__(self, width: int, dropout: float):
        super().__init__(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )


class Block(nn.Module):
    """Self-attention, then feed-forward, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attend_norm = nn.LayerNorm(width)
        self.attend = Attention(width, width, heads, dropout)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = FeedForward(width, dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(B, L, width); `bias` broadcasts to (B, 1, L, L)."""
        normed = self.attend_norm(x)
        x = x + self.attend(normed, normed, bias)
        return x + self.feed(self.feed_norm(x))


class CrossBlock(nn.Module):
    """Self-attention, attention to another sequence, feed-forward, each added to its input."""

    def __init__(self, width: int, context_width: int, heads: int, dropout: float):
        super().__init__()
        self.attend_norm = nn.LayerNorm(width)
        self.attend = Attention(width, width, heads, dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.cross = Attention(width, context_width, heads, dropout)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = FeedForward(width, dropout)

    def forward(
        self, x: Tensor, bias: Tensor, context: Tensor, context_bias: Tensor, of: Tensor | slice = EACH
    ) -> Tensor:
        """(B, L, width), row i attending to row `of[i]` of `context` (N, M, context_width), to row i without it; the
        biases broadcast to (B, 1, L, L or M)."""
        normed = self.attend_norm(x)
        x = x + self.attend(normed, normed, bias)
        x = x + self.cross(self.cross_norm(x), context, context_bias, of)
        return x + self.feed(self.feed_norm(x))

    def cross_weights(self, x: Tensor, bias: Tensor, context: Tensor, context_bias: Tensor) -> Tensor:
        """(B, heads, L, M) weights of this block's attention to `context`, for what `forward` takes."""
        normed = self.attend_norm(x)
        x = x + self.attend(normed, normed, bias)
        return self.cross.weights(self.cross_norm(x), context, context_bias)


def initialise(module: nn.Module) -> None:
    """Linear layers and embeddings from a normal of deviation 0.02 cut at two deviations, biases 0; for `apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def check_heads(width: int, heads: int) -> None:
    """Raises ValueError where the heads do not divide the width."""
    if width % heads:
        raise ValueError(f"heads {heads} do not divide the width {width}")
