"""Region features that somebody else has computed: the bottom-up features of SCAN's "precomp" folders.

They come from an archive (source kind `precomp`), not from pixels: `prepare` copies them into the dataset as what this
frozen encoder makes of its images.
"""

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.encoders.identity import settings_identity
from xmodal.positions import POSITION
from xmodal.settings import Settings, SettingsError


class Precomputed(Settings):
    """Stored features of each image."""

    kind: Literal["precomputed"]
    regions: int = Field(default=36, ge=1)
    """Regions of an image (R)."""
    width: int = Field(default=2048, ge=1)
    """Numbers of a region (W)."""
    guide_width: int = Field(default=0, ge=0)
    """Numbers of the image's CLIP vector, from the file `*_clip.npy` beside `*_ims.npy`, for CGE; 0 = none."""
    positions: bool = False
    """Whether the blocks that a region overlaps follow its numbers, from the file `*_boxes.npy`, for PFAN."""

    @model_validator(mode="after")
    def _the_guide_fits(self) -> "Precomputed":
        if self.guide_width > self.width:
            raise ValueError(f"guide_width {self.guide_width} does not fit into a token of {self.width}")
        return self

    @property
    def frozen(self) -> bool:
        """True: nothing here is trained."""
        return True

    @property
    def tokens(self) -> int:
        """Tokens of an image, the guide included."""
        return self.regions + (self.guide_width > 0)

    @property
    def token_width(self) -> int:
        """Numbers that are stored of a token, the ids and weights of its blocks included."""
        return self.width + POSITION * self.positions

    def build(self) -> "PrecomputedImage":
        return PrecomputedImage(self)


class PrecomputedImage(nn.Module):
    """Cached features (B, R, width) pass through; with a guide it is the last of R + 1 rows, padded with zeros. With
    positions 15 ids and 15 weights of blocks are the last numbers of a region: these are for a host that asks, and no
    part of its token."""

    def __init__(self, settings: Precomputed):
        super().__init__()
        self.settings, self.width = settings, settings.width

    def identity(self) -> str:
        """16 hex digits of the settings: which files the numbers came from is said by the parts."""
        return settings_identity(self.settings)

    def features(self, pixels: Tensor) -> Tensor:
        """Raises SettingsError: what made the features is not here."""
        raise SettingsError(
            "image.kind: precomputed features cannot be made of pixels; this model takes images of its dataset alone"
        )

    def forward(self, features: Tensor) -> Tensor:
        return features[..., : self.width]
