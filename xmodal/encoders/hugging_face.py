"""Any Hugging Face vision model as an image encoder, and what it shares with the text encoder.

By folder, hub id, installed package, or a configuration without weights (then drawn at random). Of a model with both
towers (CLIP, SigLIP ...) the one that is asked for is taken.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.encoders import hub
from xmodal.encoders.towers import FrozenImage, TrainedImage, train_only_what_is_used
from xmodal.settings import Settings

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NORMALISATION = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


class HuggingFace(Settings):
    """What the vision and the text encoder share."""

    kind: Literal["hugging_face"]
    path: str | None = None
    """Folder of a saved model, hub id, or package:NAME for an installed Python package that carries a model folder.
    Without network the hub answers after half a minute of retries; HF_HUB_OFFLINE=1 makes it at once."""
    config: dict[str, Any] | str | None = None
    """Instead of `path`: a configuration (a mapping with model_type) or a folder with one; weights are drawn."""
    frozen: bool = True
    """True: not trained, its output is computed once by `prepare` and cached with the dataset."""
    pool: Literal["tokens", "mean"] = "tokens"
    """tokens: every output token; mean: one token, their mean over the valid places."""

    @model_validator(mode="after")
    def _one_source(self) -> "HuggingFace":
        if (self.path is None) == (self.config is None):
            raise ValueError("hugging_face: give either path or config")
        return self

    @property
    def source(self) -> str:
        """Folder or hub id; raises SettingsError where there is none."""
        return hub.resolve(self.path or str(self.config))

    def whole_config(self) -> "PretrainedConfig":
        """The configuration of the whole model, both towers where it has them. Raises SettingsError."""
        return hub.config_of(self.config) if isinstance(self.config, dict) else hub.read_config(self.source)


class HuggingFaceVision(HuggingFace):
    """A vision model; its last hidden state becomes the tokens, a class token among them where it has one."""

    normalisation: Literal["imagenet", "half"] = "imagenet"
    """Mean and deviation for a model that brings no preprocessor_config.json; half: both 0.5."""

    def build(self) -> FrozenImage | TrainedImage:
        """Raises SettingsError where the model cannot be had."""
        width = hub.width_of(hub.part_config(self.whole_config(), "vision"))
        if self.frozen:
            return FrozenImage(self, width, self.backbone, str(self.mean_and_deviation()))
        return TrainedImage(self, width, self.trainable)

    def backbone(self) -> "VisionBackbone":
        """The model with the weights that the settings name."""
        config = self.whole_config()
        model = hub.load_weights(self.source, "vision") if self.path else hub.random_weights(config, "vision")
        pools = [MeanToken()] if self.pool == "mean" else []
        size = image_size(hub.part_config(config, "vision"))
        return VisionBackbone(model, size, *self.mean_and_deviation(), nn.Sequential(*pools))

    def trainable(self) -> nn.Module:
        """The same, with the gradient stopped where it would not arrive."""
        backbone = self.backbone()
        return train_only_what_is_used(backbone, torch.zeros(1, 3, *backbone.size, dtype=torch.uint8))

    def mean_and_deviation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of R, G, B on 0..1: from preprocessor_config.json where the model's folder has it."""
        default = NORMALISATION[self.normalisation]
        file = Path(self.source, "preprocessor_config.json") if not isinstance(self.config, dict) else Path()
        stated = json.loads(file.read_text()) if file.is_file() else {}
        return tuple(stated.get("image_mean", default[0])), tuple(stated.get("image_std", default[1]))


class VisionBackbone(nn.Module):
    """(B, 3, H, W) uint8 -> (B, R, D): resized to the model's size where it differs, normalised, encoded, pooled."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        model: nn.Module,
        size: tuple[int, int],
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        pool: nn.Module,
    ):
        super().__init__()
        self.model, self.size, self.pool = model, size, pool
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1) * 255, persistent=False)

    def values(self, pixels: Tensor) -> Tensor:
        """What the model is given: (B, 3, H, W) float of its own size."""
        if tuple(pixels.shape[2:]) != self.size:
            pixels = F.interpolate(pixels, self.size, mode="bicubic", antialias=True)
        return (pixels - self.mean) / self.deviation

    def forward(self, pixels: Tensor) -> Tensor:
        return self.pool(as_tokens(self.model(pixel_values=self.values(pixels)).last_hidden_state))


def image_size(config: "PretrainedConfig") -> tuple[int, int]:
    """(H, W) the model is built for; 224 x 224 where its configuration does not say."""
    stated = getattr(config, "image_size", None) or 224
    return (stated, stated) if isinstance(stated, int) else (stated[0], stated[1])


def as_tokens(hidden: Tensor) -> Tensor:
    """(B, R, D) of a last hidden state; the map (B, D, H, W) of a convolutional network is read row by row."""
    return hidden.flatten(2).transpose(1, 2) if hidden.dim() == 4 else hidden


class MeanToken(nn.Module):
    """(B, R, D) -> (B, 1, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1, keepdim=True)
