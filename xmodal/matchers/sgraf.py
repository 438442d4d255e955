"""SGRAF, similarity reasoning and filtration (Diao et al., AAAI 2021): a pair is judged by vectors of similarity.

    a_i = l2norm(sum_j w_ij v_j)       loc_i = l2norm(W_loc (a_i - t_i)^2 + b)
    glo = l2norm(W_glo (v_g - t_g)^2 + b)       E = [glo; loc_1 .. loc_n]       score = sigmoid(w_e . vec(E) + b_e)

with vec by SGR (graph reasoning) or SAF (attention filtration); the published SGRAF is the mean of the scores of a
model of each. The attended vectors themselves are needed here, so a block holds (I, C, L, D) numbers; global vectors
are made once a side, before the blocks, and stand before the fragments. There is no scalar relevance of a word:
constraints take cos(t_i, a_i).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from xmodal.matchers.attention import NORMS
from xmodal.matchers.blocks import score_blocks
from xmodal.matchers.crossing import TextToImage
from xmodal.matchers.matcher import Matcher, xavier
from xmodal.matchers.settings import HostSettings
from xmodal.matchers.sides import Side, dots, l2norm
from xmodal.matchers.similarity import CaptionBatchNorm, Filtration, GlobalVector, NoNorm, Reasoning
from xmodal.sizes import Sizes


class SGRAF(HostSettings):
    """Similarity reasoning (SGR) or attention filtration (SAF)."""

    kind: Literal["sgraf"]
    module: Literal["sgr", "saf"] = "sgr"
    """What makes one vector of a pair's similarity vectors."""
    similarity_width: int = Field(default=256, ge=1)
    """Dimensions of a similarity vector."""
    steps: int = Field(default=3, ge=1)
    """Steps of graph reasoning (SGR)."""
    lambda_softmax: float = Field(default=9.0, gt=0)
    """Sharpness of the softmax over regions."""
    norm: Literal["layer", "batch"] = "layer"
    """`batch` is the released one. It fixes the number of regions, and SAF with it scores a caption with all images of
    a batch at once, whatever `max_entries`."""
    regions: int = Field(default=36, ge=1)
    """Regions of an image, where the norm is `batch`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of the global vectors' attention (the release's 0.4). Above 0 a run depends on the number of workers."""

    def build(self, sizes: Sizes, tasks: nn.ModuleDict) -> "Sgraf":
        return Sgraf(self, sizes.image_width, sizes.text_width)


def norms(settings: SGRAF) -> tuple[nn.Module, nn.Module, CaptionBatchNorm | NoNorm]:
    """Of regions, of an image's mean, of SAF's scalar."""
    if settings.norm == "batch":
        return nn.BatchNorm1d(settings.regions), nn.BatchNorm1d(settings.width), CaptionBatchNorm()
    return nn.LayerNorm(settings.width), nn.LayerNorm(settings.width), NoNorm()


class Sgraf(Matcher):
    """The host."""

    def __init__(self, settings: SGRAF, image_width: int, text_width: int):
        crossing = TextToImage(NORMS["clipped_l2norm"], settings.lambda_softmax)
        super().__init__(settings, image_width, text_width, [crossing])
        local, whole, scalar = norms(settings)
        width, inner = settings.width, settings.similarity_width
        self.image_global = GlobalVector(width, settings.dropout, local, whole)
        self.text_global = GlobalVector(width, settings.dropout, nn.Identity(), nn.Identity())
        self.local, self.whole = nn.Linear(width, inner), nn.Linear(width, inner)
        self.vector = Reasoning(inner, settings.steps) if settings.module == "sgr" else Filtration(inner, scalar)
        self.score = nn.Linear(inner, 1)
        self.apply(xavier)

    def entries(self, regions: int, words: int) -> int:
        return max(regions, self.local.in_features) * words

    def in_blocks(self, image: Side, text: Side) -> Tensor:
        image = image.after(self.image_global(image.vectors, image.mask))
        text = text.after(self.text_global(text.vectors, text.mask))
        norm = self.vector.norm
        norm.forget()
        together = len(image) if norm.needs_all_images else 1
        scores = score_blocks(self.block, self.entries, image, text, self.max_entries, together)
        norm.follow()
        return scores

    def block(self, image: Side, text: Side) -> Tensor:
        """Of sides whose fragment 0 is the global vector."""
        nodes = torch.cat([self._global_node(image, text), self._word_nodes(image.rest, text.rest)], dim=2)
        return self.score(self.vector(nodes, text.mask)).squeeze(-1)

    def squashed(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(raw)

    def averaged(self, one: Tensor, two: Tensor) -> Tensor:
        right, wrong = (torch.logaddexp(logsigmoid(sign * one), logsigmoid(sign * two)) for sign in (1, -1))
        return right - wrong

    def _global_node(self, image: Side, text: Side) -> Tensor:
        """(I, C, 1, inner)"""
        v, t = image.vectors[:, 0], text.vectors[:, 0]
        return l2norm(self.whole((v[:, None] - t[None]).square()))[:, :, None]

    def _word_nodes(self, image: Side, text: Side) -> Tensor:
        """(I, C, L, inner)"""
        (crossing,) = self.crossings
        weights = crossing.weights(dots(image, text), image, text).flatten(2)
        attended = l2norm(weights.transpose(1, 2) @ image.vectors).view(len(image), *text.vectors.shape)
        return l2norm(self.local((attended - text.vectors).square()))
