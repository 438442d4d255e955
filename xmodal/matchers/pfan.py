"""PFAN, position-focused attention (Wang et al., IJCAI 2019): SCAN on regions that know where in the image they lie.

    e_l = E[block_l],   alpha = softmax_l(tanh(e_l . (W_a v + b_a))),   beta = softmax_l(weight_l alpha_l)
    region = l2norm(fc([v; sum_l beta_l e_l]))

over the (up to 15) blocks a region overlaps. `faithful` keeps two properties of the released code: its softmaxes count
empty slots, and its t2i relevance is cos(q_i, a_i) + 0.5 max_j w_ij. Regions bring their blocks with them, or are a
square grid of patches: then PFAN is a learned position embedding gated by content. A token of the whole image before
the patches lies nowhere: all its slots are empty.
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from xmodal.matchers.aggregation import mean
from xmodal.matchers.attention import NORMS, masked_softmax
from xmodal.matchers.crossing import CROSSINGS
from xmodal.matchers.matcher import Matcher, xavier
from xmodal.matchers.settings import HostSettings
from xmodal.matchers.sides import Side, dots, full, l2norm
from xmodal.patches import class_tokens, no_class_token
from xmodal.positions import OUTSIDE, POSITION, SLOTS, block_overlaps, patch_boxes
from xmodal.sizes import Sizes

SHARPNESS = {"t2i": 9.0, "i2t": 4.0}


class PFAN(HostSettings):
    """Position-focused attention in one direction."""

    kind: Literal["pfan"]
    direction: Literal["t2i", "i2t"] = "t2i"
    """Who attends: t2i = words attend to regions."""
    lambda_softmax: float | None = Field(default=None, gt=0)
    """Sharpness of the softmax over keys; absent = 9 (t2i) or 4 (i2t)."""
    position_width: int = Field(default=200, ge=1)
    """Width of a block's embedding."""
    faithful: bool = True
    """Whether the released code's padding and its 0.5 max term are kept."""
    positions: bool = False
    """Whether regions bring their blocks (`image.positions`); without them they are a square grid of patches."""

    def build(self, sizes: Sizes, tasks: nn.ModuleDict) -> "Pfan":
        located = stored if self.positions else patches(class_tokens if sizes.patches else no_class_token)
        return Pfan(self, sizes.image_width, sizes.text_width, located)


class Pfan(Matcher):
    """The host."""

    def __init__(self, settings: PFAN, image_width: int, text_width: int, located: "Located"):
        sharpness = settings.lambda_softmax or SHARPNESS[settings.direction]
        crossing = CROSSINGS[settings.direction](NORMS["clipped_l2norm"], sharpness)
        super().__init__(settings, image_width + settings.position_width, text_width, [crossing])
        self.position = nn.Embedding(OUTSIDE + 1, settings.position_width)
        self.gate = nn.Linear(image_width, settings.position_width).apply(xavier)
        nn.init.uniform_(self.position.weight, -0.1, 0.1)
        self.counts_empty = settings.faithful
        self.relevance = RELEVANCES[settings.faithful and settings.direction == "t2i"]
        self.located = located

    def regions(self, tokens: Tensor) -> Tensor:
        """(N, R, image_width) patches of a square grid, or regions with their blocks behind their numbers. Raises
        SettingsError where R patches are no square."""
        return self.placed(*self.located(tokens))

    def placed(self, tokens: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        """(N, R, image_width), block ids and weights (N or none, R, 15) -> (N, R, D) unit vectors."""
        blocks, counted = self.position(ids), (ids != OUTSIDE) | self.counts_empty
        alpha = torch.matmul(blocks, self.gate(tokens)[..., None]).squeeze(-1).tanh()
        alpha = masked_softmax(alpha, counted, -1)
        beta = masked_softmax(weights * alpha, counted, -1)
        position = (beta[..., None] * blocks).sum(-2)
        return l2norm(full(self.image(torch.cat([tokens, position], dim=-1))))

    def block(self, image: Side, text: Side) -> Tensor:
        (crossing,), scores = self.crossings, dots(image, text)
        weights = crossing.weights(scores, image, text)
        r = self.relevance(crossing.cosines(scores, weights, image, text), weights)
        return mean(r, crossing.query_mask(image, text))


def released(cosines: Tensor, weights: Tensor) -> Tensor:
    """The t2i relevance of the released code, (I, C, L)."""
    return cosines + 0.5 * weights.amax(1)


def cosine(cosines: Tensor, weights: Tensor) -> Tensor:
    """The published relevance."""
    return cosines


Located = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Tokens (N, R, W) -> their features, ids (N or none, R, 15) and weights of their blocks."""


def stored(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Regions, and the ids and weights that stand behind their numbers."""
    features, ids, weights = tokens.split([tokens.shape[-1] - POSITION, SLOTS, SLOTS], dim=-1)
    return features, ids.round().long(), weights


def patches(before: Callable[[int], int]) -> Located:
    """Patches, and the blocks of their grid; `before` tells how many tokens stand before them."""

    def located(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ahead = [0, 0, before(tokens.shape[1]), 0]
        ids, weights = block_overlaps(patch_boxes(tokens.shape[1] - ahead[2]).to(tokens.device))
        return tokens, pad(ids, ahead, value=OUTSIDE), pad(weights, ahead)

    return located


RELEVANCES = {True: released, False: cosine}
