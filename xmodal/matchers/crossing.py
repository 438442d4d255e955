"""One direction of attention: weights of every pair, relevances r_ij = cos(q_i, a_i), records of matched pairs.

The attended vectors a_i = sum_j w_ij k_j are never built. With S = Q K^T and G = K K^T

    q_i . a_i = sum_j w_ij S_ij,     |a_i|^2 = w_i^T G w_i,     cos = q_i . a_i / max(|q_i| |a_i|, 1e-8),

so what exists of a block is S and W (I, R, C, L), not (I, C, L, D).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xmodal.matchers.attention import Focus, Norm, keep_all, masked_softmax
from xmodal.matchers.record import AttentionRecord, Direction
from xmodal.matchers.sides import EPS, Side, paired_dots


@dataclass(frozen=True)
class Crossing(ABC):
    """A direction with its base attention; the settings are read where it is made."""

    norm: Norm
    sharpness: float
    """lambda of the softmax over keys."""
    focus: Focus = keep_all

    direction: ClassVar[Direction]
    query_axis: ClassVar[int]
    key_axis: ClassVar[int]

    def attend(self, dots: Tensor, query_mask: Tensor, key_mask: Tensor, complete: bool) -> Tensor:
        """W in the shape of `dots`; masks broadcast to it, `complete` says that no key is padding."""
        x = self.norm(dots, query_mask, self.query_axis) * self.sharpness
        weights = x.softmax(self.key_axis) if complete else masked_softmax(x, key_mask, self.key_axis)
        return self.focus(weights, key_mask, self.key_axis)

    @abstractmethod
    def weights(self, dots: Tensor, image: Side, text: Side) -> Tensor:
        """W (I, R, C, L) of a block of all pairs."""

    @abstractmethod
    def cosines(self, dots: Tensor, weights: Tensor, image: Side, text: Side) -> Tensor:
        """(I, C, n) relevance of every query fragment, 0 at padding."""

    @abstractmethod
    def query_mask(self, image: Side, text: Side) -> Tensor:
        """Mask that broadcasts to `cosines`."""

    @abstractmethod
    def record(self, image: Side, text: Side, groups: Tensor | None) -> AttentionRecord:
        """The matched pairs: row i of both sides."""


class TextToImage(Crossing):
    """Words attend to regions."""

    direction, query_axis, key_axis = "t2i", 3, 1

    def weights(self, dots: Tensor, image: Side, text: Side) -> Tensor:
        return self.attend(dots, text.mask[None, None], image.mask[:, :, None, None], image.complete)

    def cosines(self, dots: Tensor, weights: Tensor, image: Side, text: Side) -> Tensor:
        product = (image.gram @ weights.flatten(2)).view_as(weights)
        return _cosine((weights * dots).sum(1), (weights * product).sum(1), text.norm[None])

    def query_mask(self, image: Side, text: Side) -> Tensor:
        return text.mask[None]

    def record(self, image: Side, text: Side, groups: Tensor | None) -> AttentionRecord:
        dots = paired_dots(image, text)
        weights = self.attend(dots, text.mask[:, None, None], image.mask[:, :, None, None], image.complete)
        sim, weight = dots[:, :, 0].transpose(1, 2), weights[:, :, 0].transpose(1, 2)
        return AttentionRecord(sim, weight, image.gram, text.norm, text.mask, image.mask, groups, "t2i")


class ImageToText(Crossing):
    """Regions attend to words."""

    direction, query_axis, key_axis = "i2t", 1, 3

    def weights(self, dots: Tensor, image: Side, text: Side) -> Tensor:
        return self.attend(dots, image.mask[:, :, None, None], text.mask[None, None], text.complete)

    def cosines(self, dots: Tensor, weights: Tensor, image: Side, text: Side) -> Tensor:
        by_caption = weights.flatten(0, 1).transpose(0, 1)
        product = (by_caption @ text.gram).transpose(0, 1).view_as(weights)
        found = _cosine((weights * dots).sum(3), (weights * product).sum(3), image.norm[:, :, None])
        return found.transpose(1, 2)

    def query_mask(self, image: Side, text: Side) -> Tensor:
        return image.mask[:, None]

    def record(self, image: Side, text: Side, groups: Tensor | None) -> AttentionRecord:
        dots = paired_dots(image, text)
        weights = self.attend(dots, image.mask[:, :, None, None], text.mask[:, None, None], text.complete)
        sim, weight = dots[:, :, 0], weights[:, :, 0]
        return AttentionRecord(sim, weight, text.gram, image.norm, image.mask, text.mask, groups, "i2t")


CROSSINGS: dict[str, type[TextToImage] | type[ImageToText]] = {"t2i": TextToImage, "i2t": ImageToText}


def _cosine(product: Tensor, attended: Tensor, query_norm: Tensor) -> Tensor:
    return product / (query_norm * attended.clamp_min(1e-30).sqrt()).clamp_min(EPS)
