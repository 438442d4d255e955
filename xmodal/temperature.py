"""The temperature of every softmax over candidates."""

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.settings import Settings


class TemperatureSettings(Settings):
    """tau, the divisor of similarities in every softmax over candidates."""

    initial: float = Field(default=0.07, gt=0)
    """Start value."""
    learnable: bool = True
    """Whether it is trained."""
    minimum: float = Field(default=0.001, gt=0)
    """Lower clamp while it is trained (ALBEF 0.001)."""
    maximum: float = Field(default=0.5, gt=0)
    """Upper clamp while it is trained (ALBEF 0.5)."""

    @model_validator(mode="after")
    def _initial_within_the_clamps(self) -> "TemperatureSettings":
        if not self.minimum <= self.initial <= self.maximum:
            raise ValueError(
                f"initial {self.initial} must lie within minimum {self.minimum} and maximum {self.maximum}"
            )
        return self

    def build(self) -> "Temperature":
        return Temperature(self)


class Temperature(nn.Module):
    """One scalar, learned as its logarithm (CLIP, Radford et al., ICML 2021, section 2.5): a step changes it by a share
    of itself, so that a learning rate fit for the encoders does not drive it to its clamp. Clamped after each step."""

    def __init__(self, settings: TemperatureSettings):
        super().__init__()
        self.minimum, self.maximum = math.log(settings.minimum), math.log(settings.maximum)
        self.log = nn.Parameter(torch.tensor(math.log(settings.initial)), requires_grad=settings.learnable)

    @property
    def value(self) -> Tensor:
        """tau."""
        return self.log.float().exp()

    def scaled(self, similarity: Tensor) -> Tensor:
        """Similarities as logits, in float32."""
        return similarity.float() / self.value

    @torch.no_grad()
    def clamp(self) -> None:
        self.log.clamp_(self.minimum, self.maximum)
