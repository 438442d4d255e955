"""A frozen image encoder beside a second one whose vector guides its tokens (CGE, see `xmodal.enhance.clip_guided`).

The guide is the last token, padded with zeros: so it is computed once by `prepare` and cached with the other tokens.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import pad

from xmodal.encoders.efficientnet_lite import EfficientNetLite
from xmodal.encoders.hugging_face import HuggingFaceVision
from xmodal.encoders.identity import settings_identity
from xmodal.encoders.towers import FrozenImage, TrainedImage
from xmodal.settings import Settings, SettingsError

Frozen = Annotated[EfficientNetLite | HuggingFaceVision, Field(discriminator="kind")]


class Guided(Settings):
    """Tokens of one frozen encoder and, as the last of them, the vector of another."""

    kind: Literal["guided"]
    tokens: Frozen
    """Encoder of the tokens."""
    guide: Frozen
    """Encoder whose tokens' mean is the guide: a CLIP."""
    guide_width: int = Field(default=512, ge=1)
    """Numbers of the guide."""

    @model_validator(mode="after")
    def _both_are_frozen(self) -> "Guided":
        if not (self.tokens.frozen and self.guide.frozen):
            raise ValueError("guided: both encoders must be frozen, the guide is cached with the tokens")
        return self

    @property
    def frozen(self) -> bool:
        """True: computed once by `prepare`."""
        return True

    def build(self) -> "GuidedImage":
        """Raises SettingsError where a model cannot be had or the guide has another width."""
        tokens, guide = self.tokens.build(), self.guide.build()
        if guide.width != self.guide_width or guide.width > tokens.width:
            raise SettingsError(
                f"image.guide_width: the guide has {guide.width} numbers, stated are {self.guide_width}, and a token "
                f"has {tokens.width}"
            )
        return GuidedImage(self, tokens, guide)


class GuidedImage(nn.Module):
    """Cached tokens (B, R + 1, width) pass through."""

    def __init__(self, settings: Guided, tokens: FrozenImage | TrainedImage, guide: FrozenImage | TrainedImage):
        super().__init__()
        self.settings, self.width, self.tokens, self.guide = settings, tokens.width, tokens, guide

    def identity(self) -> str:
        """16 hex digits of the settings and of both encoders' identities."""
        return settings_identity(self.settings, self.tokens.identity() + self.guide.identity())

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, R + 1, width) float32, without gradient."""
        tokens, guide = self.tokens.features(pixels), self.guide.features(pixels).mean(1, keepdim=True)
        return torch.cat([tokens, pad(guide, (0, self.width - guide.shape[2]))], dim=1)

    def forward(self, features: Tensor) -> Tensor:
        return features
