"""Residual attention over an encoder's tokens, zero-gated: a documented reading of ReCap's residual attention network.

    H_0 = X;   H <- H + tanh(g_a) MHA(LN H);   H <- H + tanh(g_f) FFN(LN H),   n times         (`residual_attention`)
    H_0 = X;   H <- (1 + tanh(g) sigmoid(MHA(LN H))) * H,                      n times         (`residual_mask`)

(Tao et al., Sensors 24(10) 3130, 2024, whose body is not public: "Reading A" of docs/method.md; the second form is
Wang et al., Residual Attention Network, CVPR 2017, eq. 3.) All g start at 0, so at step 0 both are the identity bit for
bit and what the encoder knows is untouched; how far they go is bounded by the gates, which are logged.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from xmodal.encoders.blocks import Attention, FeedForward, check_heads, initialise, key_bias
from xmodal.enhance.gate import Gate, gate_values
from xmodal.enhance.settings import EnhanceSettings
from xmodal.settings import SettingsError


class AttentionSettings(EnhanceSettings):
    """Attention of an encoder's tokens to each other."""

    layers: int = Field(default=1, ge=1)
    """Number of layers (n)."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; they divide the width of the encoder's tokens."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of the branches. Above 0 a run depends on the number of workers."""

    def check(self, width: int) -> None:
        """Raises SettingsError where the heads do not divide the width."""
        try:
            check_heads(width, self.heads)
        except ValueError as error:
            raise SettingsError(f"enhance: {error} of the encoder's tokens") from None


class ResidualAttention(AttentionSettings):
    """Residual attention and feed-forward, zero-gated."""

    kind: Literal["residual_attention"]

    def build(self, width: int) -> "Enhancer":
        self.check(width)
        return Enhancer([AttentionLayer(width, self.heads, self.dropout) for _ in range(self.layers)])


class ResidualMask(AttentionSettings):
    """Tokens scaled by an attention mask, zero-gated."""

    kind: Literal["residual_mask"]

    def build(self, width: int) -> "Enhancer":
        self.check(width)
        return Enhancer([MaskLayer(width, self.heads, self.dropout) for _ in range(self.layers)])


class Enhancer(nn.Module):
    """Layers, each (B, T, W) and additive bias of masked keys -> (B, T, W)."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers).apply(initialise)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W), (B, T) -> (B, T, W); what stands at masked places changes no other place."""
        bias = key_bias(mask, tokens)
        for layer in self.layers:
            tokens = layer(tokens, bias)
        return tokens

    def metrics(self) -> dict[str, Tensor]:
        """The gates by their place, e.g. "layers/0/attend_gate"."""
        return gate_values(self)


class AttentionLayer(nn.Module):
    """Gated self-attention, then gated feed-forward, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attend_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.feed = Attention(width, width, heads, dropout), FeedForward(width, dropout)
        self.attend_gate, self.feed_gate = Gate(), Gate()

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        normed = self.attend_norm(x)
        x = x + self.attend_gate(self.attend(normed, normed, bias))
        return x + self.feed_gate(self.feed(self.feed_norm(x)))


class MaskLayer(nn.Module):
    """Each number of each token times 1 + tanh(g) sigmoid(A), A from attention."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = Attention(width, width, heads, dropout)
        self.gate = Gate()

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        normed = self.norm(x)
        return (1 + self.gate(self.attend(normed, normed, bias).sigmoid())) * x
