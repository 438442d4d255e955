"""Both encoders, each as one module of tensors that can be written as a graph: pixels to unit vectors, and token ids
with their mask to unit vectors.

A frozen backbone is a part of it. What packs sequences, which no graph can hold, is replaced by what gives the same
without (`xmodal.unpacked`).
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from xmodal.encoders.guided import GuidedImage
from xmodal.encoders.towers import Frozen
from xmodal.encoders.vision_backbone import VisionBackbone
from xmodal.encodings import Tower
from xmodal.model import CrossModalModel
from xmodal.unpacked import unpacked


class ImageGraph(nn.Module):
    """(B, 3, H, W) uint8 pixels of `size` -> (B, D) unit vectors."""

    def __init__(self, network: CrossModalModel, side: int):
        """`side` is that of the dataset's pixels. A backbone that sees another size is given pixels of its own: how
        they are resized in between is no matter of a graph."""
        super().__init__()
        tower = network.query.image
        sizes = {one.size for one in backbones(tower.encoder).values() if isinstance(one, VisionBackbone)}
        self.size = sizes.pop() if len(sizes) == 1 else (side, side)
        blank = torch.zeros(1, 3, *self.size, dtype=torch.uint8, device=network.temperature.value.device)
        tokens = network.placed_tokens(network.image_features(blank)).shape[1]
        self.tower, self.frozen = _graph_of(tower, tokens)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.tower(self.tower.encoder.features(pixels))
        return self.tower.head(tokens, tokens.new_ones(tokens.shape[:2], dtype=torch.bool))


class TextGraph(nn.Module):
    """(B, L) int64 ids and (B, L) bool mask -> (B, D) unit vectors, L at most `longest`."""

    def __init__(self, network: CrossModalModel):
        super().__init__()
        self.longest = network.settings.text.longest
        self.tower, self.frozen = _graph_of(network.query.text, self.longest)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x, real = self.tower.encoder.features(ids, mask)
        return self.tower.head(self.tower(x, real), real)


def backbones(encoder: Any) -> dict[str, nn.Module]:
    """The pretrained parts of an encoder by their place in it, loaded: one as "", of a guided one `tokens` and
    `guide`."""
    if isinstance(encoder, GuidedImage):
        return {place: backbones(getattr(encoder, place))[""] for place in ("tokens", "guide")}
    held = getattr(encoder, "backbone", None)
    return {} if held is None else {"": held.module if isinstance(held, Frozen) else held}


def _graph_of(tower: Tower, longest: int) -> tuple[Any, nn.ModuleList]:
    """A copy of the tower in evaluation mode, and its frozen backbones, which are no part of it."""
    copied: Any = unpacked(copy.deepcopy(tower), longest).eval().requires_grad_(False)
    return copied, nn.ModuleList(backbones(tower.encoder).values())
