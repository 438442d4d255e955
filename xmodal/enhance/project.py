"""Tokens of a wide encoder made narrow, so that what comes after them costs less.

    H <- W LN(H)

Fusion encoders and captioners project image tokens in each block (ALBEF, BLIP); here it is done once, for all of them.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from xmodal.encoders.blocks import initialise
from xmodal.enhance.settings import EnhanceSettings


class Project(EnhanceSettings):
    """One matrix for every token, alike."""

    kind: Literal["project"]
    width: int = Field(default=256, ge=1)
    """Width of the tokens after it."""

    def after(self, width: int) -> int:
        return self.width

    def build(self, width: int) -> "Projection":
        return Projection(width, self.width)


class Projection(nn.Module):
    """(B, T, W) -> (B, T, narrower)."""

    def __init__(self, width: int, narrower: int):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, narrower)
        initialise(self.fc)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Token by token."""
        return self.fc(self.norm(tokens))

    def metrics(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}
