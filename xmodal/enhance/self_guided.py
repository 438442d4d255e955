"""SGE, the self-guided enhancement of USER (Zhang et al., IEEE TIP 33, 2024), read from the released code.

    l_i = drop(tanh(norm(W_l r_i)))            g = drop(tanh(norm(W_g mean_i r_i)))
    a   = softmax_i(w . (l_i * g))             v_g = l2norm(sum_i a_i r_i)         the image's own global vector
    r'_i = r_i + p~_i v_g                      p~ as in `xmodal.enhance.guided`

(zhangy0822/USER lib/encoders.py.) Its norms are batch norms: over the region's number for l, which asks for exactly 36
regions, and over channels for g. By default they are layer norms here, for any number of tokens and the same at any
number of workers; `norm: batch` is the released form.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.enhance.guided import masked_softmax, towards, unit
from xmodal.enhance.settings import EnhanceSettings
from xmodal.pooling import Mean


class SelfGuided(EnhanceSettings):
    """Tokens enhanced by a global vector that attention makes of them (SGE)."""

    kind: Literal["self_guided"]
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of l and g (USER 0.4). Above 0 a run depends on the number of workers."""
    sharpness: float = Field(default=1.0, gt=0)
    """lambda, factor of the similarities before the softmax over tokens (USER 1)."""
    norm: Literal["layer", "batch"] = "layer"
    """layer: each token alone. batch: statistics of one worker's batch, as released; a run then depends on the number
    of workers."""
    regions: int = Field(default=36, ge=1)
    """Tokens of every image, where the norm is batch."""

    def build(self, width: int) -> "SelfGuidedEnhancer":
        local: nn.Module = nn.BatchNorm1d(self.regions) if self.norm == "batch" else nn.LayerNorm(width)
        whole: nn.Module = nn.BatchNorm1d(width) if self.norm == "batch" else nn.LayerNorm(width)
        return SelfGuidedEnhancer(width, local, whole, self.dropout, self.sharpness)


class SelfGuidedEnhancer(nn.Module):
    """(B, T, W), (B, T) -> (B, T, W); what stands at masked places changes no other place."""

    def __init__(self, width: int, local: nn.Module, whole: nn.Module, dropout: float, sharpness: float):
        super().__init__()
        self.local = nn.Sequential(nn.Linear(width, width), local, nn.Tanh(), nn.Dropout(dropout))
        self.whole = nn.Sequential(nn.Linear(width, width), whole, nn.Tanh(), nn.Dropout(dropout))
        self.score = nn.Linear(width, 1)
        self.mean, self.sharpness = Mean(), sharpness
        for layer in (self.local[0], self.whole[0], self.score):
            nn.init.xavier_uniform_(layer.weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return towards(tokens, mask, self.guide(tokens, mask), self.sharpness)

    def guide(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """v_g, (B, W) unit vectors; 0 where an image has no token."""
        seen = self.whole(self.mean(tokens, mask))
        scores = self.score(self.local(tokens) * seen[:, None])[..., 0].float()
        attention = masked_softmax(scores, mask).to(tokens.dtype)
        return unit(torch.einsum("bt,btw->bw", attention, tokens.masked_fill(~mask[..., None], 0)))

    def metrics(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}
