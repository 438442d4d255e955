"""A residual MLP of as many weights as residual attention: its control, which sees each token alone.

    H_0 = X;   H <- H + tanh(g) W_2 GELU(W_1 LN H),   n times, six times as wide inside

Attention (4 W^2) and feed-forward (8 W^2) have 12 W^2 weights a layer, and so have these two matrices.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from xmodal.encoders.blocks import initialise
from xmodal.enhance.gate import Gate, gate_values
from xmodal.enhance.settings import EnhanceSettings

WIDER = 6


class ResidualMLP(EnhanceSettings):
    """Control of residual attention: equal size, no attention."""

    kind: Literal["residual_mlp"]
    layers: int = Field(default=1, ge=1)
    """Number of layers (n)."""

    def build(self, width: int) -> "MLPEnhancer":
        return MLPEnhancer(width, self.layers)


class MLPEnhancer(nn.Module):
    """The layers over (B, T, W)."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(MLPLayer(width) for _ in range(layers)).apply(initialise)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W), (B, T) -> (B, T, W), token by token."""
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens

    def metrics(self) -> dict[str, float]:
        """The gates by their place."""
        return gate_values(self)


class MLPLayer(nn.Module):
    """One gated residual MLP."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, WIDER * width), nn.GELU(), nn.Linear(WIDER * width, width))
        self.gate = Gate()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate(self.feed(self.norm(x)))
