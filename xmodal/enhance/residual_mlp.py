"""A residual MLP of as many weights as another enhancer: its control, which sees each token alone.

    H_0 = X;   H <- H + tanh(g) W_2 GELU(W_1 LN H),   n times, `wider` times as wide inside: 2 wider W^2 weights each

Attention (4 W^2) and feed-forward (8 W^2) of a layer of residual attention have 12 W^2 weights: the control of it is 6
times as wide. SGE has two matrices of W^2: its control is as wide as the tokens.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from xmodal.encoders.blocks import initialise
from xmodal.enhance.gate import Gate, gate_values
from xmodal.enhance.settings import EnhanceSettings


class ResidualMLP(EnhanceSettings):
    """Control of residual attention or SGE: equal size, no attention."""

    kind: Literal["residual_mlp"]
    layers: int = Field(default=1, ge=1)
    """Number of layers (n)."""
    wider: int = Field(default=6, ge=1)
    """Width inside over the width of the tokens: 6 is the size of residual attention, 1 that of self_guided."""

    def build(self, width: int) -> "MLPEnhancer":
        return MLPEnhancer(width, self.layers, self.wider * width)


class MLPEnhancer(nn.Module):
    """The layers over (B, T, W)."""

    def __init__(self, width: int, layers: int, inside: int):
        super().__init__()
        self.layers = nn.ModuleList(MLPLayer(width, inside) for _ in range(layers)).apply(initialise)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W), (B, T) -> (B, T, W), token by token."""
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens

    def metrics(self) -> dict[str, Tensor]:
        """The gates by their place."""
        return gate_values(self)


class MLPLayer(nn.Module):
    """One gated residual MLP."""

    def __init__(self, width: int, inside: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, inside), nn.GELU(), nn.Linear(inside, width))
        self.gate = Gate()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate(self.feed(self.norm(x)))
