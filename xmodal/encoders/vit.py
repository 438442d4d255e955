"""Small built-in image encoder: a convolutional stem, then a transformer.

A stem of convolutions instead of one patch projection is what lets a small vision transformer learn from few images
(Xiao et al. 2021, "Early Convolutions Help Transformers See Better"). Every normalisation is over one image alone, so
the result does not depend on who else is in the batch.
"""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.encoders.blocks import Block, check_heads, initialise, no_bias
from xmodal.encoders.identity import settings_identity
from xmodal.settings import Settings

STRIDE = 16


class ViT(Settings):
    """A vision transformer trained from scratch."""

    kind: Literal["vit"]
    image_size: int = Field(default=224, ge=STRIDE, multiple_of=STRIDE)
    """Side of the images in pixels: that of the dataset's pixels."""
    width: int = Field(default=128, ge=8)
    """Width of its tokens (D)."""
    depth: int = Field(default=2, ge=0)
    """Number of transformer blocks after the stem."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; they divide the width."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after attention and feed-forward. Above 0 a run depends on the number of workers."""

    @model_validator(mode="after")
    def _divides(self) -> "ViT":
        check_heads(self.width, self.heads)
        return self

    @property
    def frozen(self) -> bool:
        """False: it is trained."""
        return False

    def build(self) -> "ViTEncoder":
        return ViTEncoder(self)


class ViTEncoder(nn.Module):
    """Images (B, 3, H, W) to R = (H / 16) (W / 16) tokens of `width`."""

    def __init__(self, settings: ViT):
        super().__init__()
        self.settings = settings
        self.width = settings.width
        self.stem = stem(settings.width)
        patches = (settings.image_size // STRIDE) ** 2
        self.position = nn.Parameter(torch.empty(1, patches, settings.width))
        self.blocks = nn.ModuleList(
            Block(settings.width, settings.heads, settings.dropout) for _ in range(settings.depth)
        )
        self.norm = nn.LayerNorm(settings.width)
        self.blocks.apply(initialise)
        nn.init.trunc_normal_(self.position, std=0.02, a=-0.04, b=0.04)

    def identity(self) -> str:
        """16 hex digits of its settings."""
        return settings_identity(self.settings)

    def features(self, pixels: Tensor) -> Tensor:
        """What `forward` takes: the pixels themselves."""
        return pixels

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, R, width), patches row by row. Raises ValueError for another H or W."""
        side = self.settings.image_size
        if tuple(pixels.shape[1:]) != (3, side, side):
            raise ValueError(
                f"image_size: this encoder is built for {side} x {side} pixels, these images are "
                f"{pixels.shape[-1]} x {pixels.shape[-2]}"
            )
        values = pixels.to(self.position.dtype).sub(127.5).div_(64.0)
        x = self.stem(values.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)
        x = x + self.position
        bias = no_bias(x)
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)


def stem(width: int) -> nn.Sequential:
    """Three strided convolutions, together of stride 16; a group of one makes GroupNorm a norm over one image."""
    first, second = max(8, width // 4), max(8, width // 2)
    return nn.Sequential(
        nn.Conv2d(3, first, 7, stride=4, padding=3),
        nn.GroupNorm(1, first),
        nn.GELU(),
        nn.Conv2d(first, second, 3, stride=2, padding=1),
        nn.GroupNorm(1, second),
        nn.GELU(),
        nn.Conv2d(second, width, 3, stride=2, padding=1),
    )
