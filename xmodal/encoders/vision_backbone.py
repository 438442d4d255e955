"""A pretrained vision model between pixels and tokens: resized, normalised, encoded, pooled."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.encoders import own
from xmodal.encoders.towers import FrozenImage, TrainedImage, train_only_what_is_used
from xmodal.settings import Settings

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class VisionBackbone(nn.Module):
    """(B, 3, H, W) uint8 -> (B, R, D), R = 1 for the pools mean and own. `mean` and `deviation` are of 0..1."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        model: nn.Module,
        size: tuple[int, int],
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        pool: str,
    ):
        super().__init__()
        self.model, self.size, self.read = model, size, READERS[pool]
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1) * 255, persistent=False)

    def values(self, pixels: Tensor) -> Tensor:
        """What the model is given: (B, 3, H, W) float of its own size."""
        if tuple(pixels.shape[2:]) != self.size:
            pixels = F.interpolate(pixels, self.size, mode="bicubic", antialias=True)
        return (pixels - self.mean) / self.deviation

    def forward(self, pixels: Tensor) -> Tensor:
        return self.read(self.model, self.values(pixels))


def every_token(model: nn.Module, values: Tensor) -> Tensor:
    """(B, R, D) of the last hidden state; the map (B, D, H, W) of a convolutional network is read row by row."""
    hidden = model(pixel_values=values).last_hidden_state
    return hidden.flatten(2).transpose(1, 2) if hidden.dim() == 4 else hidden


def mean_token(model: nn.Module, values: Tensor) -> Tensor:
    """(B, 1, D)."""
    return every_token(model, values).mean(1, keepdim=True)


def own_token(model: nn.Module, values: Tensor) -> Tensor:
    """(B, 1, D)."""
    return own.embedding(model, "vision", pixel_values=values)[:, None]


READERS = {"tokens": every_token, "mean": mean_token, "own": own_token}


def image_encoder(
    settings: Settings, frozen: bool, width: int, load: Callable[[], VisionBackbone], facts: str
) -> FrozenImage | TrainedImage:
    """The encoder around what `load` gives; `facts` name what else than settings and weights makes frozen tokens."""
    if frozen:
        return FrozenImage(settings, width, load, facts)
    return TrainedImage(settings, width, lambda: _trainable(load()))


def _trainable(backbone: VisionBackbone) -> nn.Module:
    """With the gradient stopped where it would not arrive."""
    return train_only_what_is_used(backbone, torch.zeros(1, 3, *backbone.size, dtype=torch.uint8))


def configured_size(config: "PretrainedConfig") -> tuple[int, int]:
    """(H, W) the model is built for; 224 x 224 where its configuration does not say."""
    return _pair(getattr(config, "image_size", None)) or (224, 224)


def stated_size(preprocessor: dict[str, Any]) -> tuple[int, int] | None:
    """(H, W) that a preprocessor_config.json makes of images: of its crop, else of its resizing; None without."""
    crop = preprocessor.get("crop_size") if preprocessor.get("do_center_crop", True) else None
    return _pair(crop) or _pair(preprocessor.get("size"))


def _pair(stated: Any) -> tuple[int, int] | None:
    """(H, W) of a side, a pair, or a mapping of height and width or of the shortest edge."""
    if isinstance(stated, dict):
        edge = stated.get("shortest_edge")
        return _pair([stated["height"], stated["width"]] if "height" in stated else edge)
    if isinstance(stated, int):
        return stated, stated
    return (int(stated[0]), int(stated[1])) if stated else None
