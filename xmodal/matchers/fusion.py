"""The fusion encoder of ITM as a host: the attention of one of its layers, text tokens over image tokens.

Weights are the mean over the heads of softmax(q k^T / sqrt(d)), computed again for that layer on the pairs alone (fast
attention kernels do not return them). Relevance is judged in the space of ITC, q_i = head(h_i) and k_j = head(v_j) of
single tokens: the text encoder's output h_i has not seen the image, so it does not hold what it attends to. A token of
the whole image before the patches is no key: its weight is dropped and the rest sums to 1, as where attention is
measured.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.encodings import Encodings
from xmodal.fusion import FusionEncoder
from xmodal.matchers.hosted import REDUCTIONS, speaking
from xmodal.matchers.record import AttentionRecord
from xmodal.matchers.sides import full
from xmodal.patches import class_tokens, no_class_token
from xmodal.settings import Settings, SettingsError
from xmodal.sizes import Sizes


class Fusion(Settings):
    """The cross-attention of the task itm."""

    kind: Literal["fusion"]
    layer: int | None = Field(default=None, ge=0)
    """Block whose attention is looked at, from 0; absent = the middle one."""

    def build(self, sizes: Sizes, tasks: nn.ModuleDict) -> "FusionHost":
        """Raises SettingsError where the fusion encoder has no such layer."""
        fusion: FusionEncoder = tasks["itm"].fusion  # pyright: ignore[reportAssignmentType]
        layer = len(fusion.blocks) // 2 if self.layer is None else self.layer
        if layer >= len(fusion.blocks):
            raise SettingsError(f"model.matcher.layer: {layer}; the fusion encoder has {len(fusion.blocks)}, from 0")
        return FusionHost(fusion, layer, class_tokens if sizes.patches else no_class_token)


class FusionHost:
    """It has no weights of its own, and is no module: the task's encoder stays where it is."""

    words_attend = True

    def __init__(self, fusion: FusionEncoder, layer: int, before: Callable[[int], int]):
        """`before` tells how many of an image's tokens stand before its patches."""
        self.fusion, self.layer, self.before = fusion, layer, before

    def __call__(self, encodings: Encodings) -> "FusionHosted":
        return FusionHosted(self.fusion, self.layer, encodings, self.before(encodings.image_tokens.shape[1]))

    def attention(self, image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """(P, L, R) weights of the words of text i over all tokens of image i."""
        return self.fusion.attention(text, mask, image, self.layer)


class FusionHosted:
    """The fusion encoder's records of a batch."""

    reduce = staticmethod(REDUCTIONS["mean"])

    def __init__(self, fusion: FusionEncoder, layer: int, encodings: Encodings, before: int):
        """The first `before` tokens of an image are no keys."""
        self.fusion, self.layer, self.encodings, self.before = fusion, layer, encodings, before

    @cached_property
    def records(self) -> list[AttentionRecord]:
        mine = self.encodings
        return [self._record(mine.text_tokens, mine.batch.text_mask, mine.batch.words)]

    def other(self, record: AttentionRecord, rows: Tensor) -> AttentionRecord:
        tokens, words = self.encodings.gathered_tokens, self.encodings.gathered_words
        return self._record(tokens.text[rows], tokens.text_mask[rows], words[rows])

    @cached_property
    def _keys(self) -> Tensor:
        """(B, R, D) of the patches."""
        return self.encodings.query.image.head.of_vectors(full(self.encodings.image_tokens[:, self.before :]))

    def _record(self, text: Tensor, mask: Tensor, words: Tensor) -> AttentionRecord:
        """Texts (B, L, W) that attend to the local images."""
        image = self.encodings.image_tokens
        weight = rest_of(self.fusion.attention(text, mask, image, self.layer), self.before)
        with torch.autocast(image.device.type, enabled=False):
            query = self.encodings.query.text.head.of_vectors(full(text)).masked_fill(~mask[..., None], 0)
            sim, gram = query @ self._keys.transpose(1, 2), self._keys @ self._keys.transpose(1, 2)
            norm = query.square().sum(-1).clamp_min(1e-30).sqrt()
            seen = mask.new_ones(gram.shape[:2])
            return speaking(AttentionRecord(sim, weight, gram, norm, mask, seen, words, "t2i"))


def rest_of(weight: Tensor, before: int) -> Tensor:
    """(P, L, R) weights without the first `before` keys, the rest made to sum to 1; as they are where `before` is 0."""
    rest = weight[..., before:]
    return rest / rest.sum(-1, keepdim=True).clamp_min(1e-30) if before else rest
