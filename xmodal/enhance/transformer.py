"""Transformer blocks on an encoder's tokens: a trained encoder on top of a frozen one.

    H_0 = X;   H <- H + MHA(LN H);   H <- H + FFN(LN H),   n times;   LN H at the end

Behind a frozen encoder it makes the momentum encoder more than a head: what it gives for an image moves as it learns.
Nothing tells it where a token stands, but what the frozen encoder's border lets it see.
"""

from typing import Literal

from torch import Tensor, nn

from xmodal.encoders.blocks import Block, initialise, key_bias
from xmodal.enhance.residual_attention import AttentionSettings


class Transformer(AttentionSettings):
    """Self-attention and feed-forward; not the identity at step 0."""

    kind: Literal["transformer"]

    def build(self, width: int) -> "Blocks":
        self.check(width)
        return Blocks(width, self.layers, self.heads, self.dropout)


class Blocks(nn.Module):
    """The blocks and the norm behind them."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers)).apply(initialise)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W), (B, T) -> (B, T, W); what stands at masked places changes no other place."""
        bias = key_bias(mask, tokens)
        for block in self.blocks:
            tokens = block(tokens, bias)
        return self.norm(tokens)

    def metrics(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}
