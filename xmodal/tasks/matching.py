"""ITM, image-text matching: a fusion encoder tells pairs from hard negatives.

    L_itm = CE(head(fusion(text, image)[CLS]), is a pair)       (ALBEF, Li et al., NeurIPS 2021, eq. 4 and section 3.2)

Each text meets one hard negative image and each image one hard negative text, drawn with probability proportional to
softmax(similarity / tau) over candidates that are unrelated to it. Three differences to the released code: a row
without any allowed negative (a burst of one species) is left out instead of raising; a draw is keyed by the seed, the
step and both samples, so it is the same at any world size; and pairs, negative images and negative texts pass the
fusion encoder as one batch, which makes an image's keys and values once for all texts that look at it.
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from xmodal.distributed import global_mean
from xmodal.draws import gumbel
from xmodal.encoders.blocks import EACH
from xmodal.encodings import Direction, Encodings, Tokens
from xmodal.fusion import FusionSettings
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class ITM(Settings):
    """Image-text matching task."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""
    negatives: Literal["local", "global"] = "global"
    """Where hard negatives come from: the rank's own rows, which costs no exchange, or the whole global batch, whose
    tokens are gathered with gradient; only `global` is the same at every world size."""
    fusion: FusionSettings = FusionSettings()
    """The image-grounded text encoder."""

    def build(self, sizes: Sizes) -> "Matching":
        fusion = self.fusion.build(sizes.text_width, sizes.image_width)
        return Matching(fusion, POOLS[self.negatives], sizes.seed)


def local_pool(encodings: Encodings) -> Tokens:
    return encodings.local_tokens


def global_pool(encodings: Encodings) -> Tokens:
    return encodings.gathered_tokens


POOLS = {"local": local_pool, "global": global_pool}


class Matching(nn.Module):
    """The task: fusion encoder and two-way head."""

    def __init__(self, fusion: nn.Module, pool: Callable[[Encodings], Tokens], seed: int):
        super().__init__()
        self.fusion, self.pool, self.seed = fusion, pool, seed
        self.head = nn.Linear(int(fusion.width), 2)  # pyright: ignore[reportArgumentType]

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over pairs and drawn negatives, a scalar."""
        pool = self.pool(encodings)
        text, has_text = self._draw(encodings, pool, encodings.i2t, side=0)
        image, has_image = self._draw(encodings, pool, encodings.t2i, side=1)
        # the candidates' longest text may be longer than the local one: pairs take their tokens from the pool as well
        texts = torch.cat([pool.own, pool.own, text])
        images, own, drawn = pool.looked_at(image)
        logits = self.logits(pool.text[texts], pool.text_mask[texts], images, torch.cat([own, drawn, own]))
        is_pair = torch.arange(3, device=logits.device).repeat_interleave(len(text)) == 0
        counted = torch.cat([has_text | has_image, has_image, has_text]) & encodings.batch.valid.repeat(3)
        return global_mean(cross_entropy(logits.float(), is_pair.long(), reduction="none"), counted)

    def logits(self, text_tokens: Tensor, text_mask: Tensor, image_tokens: Tensor, of: Tensor | slice = EACH) -> Tensor:
        """(B, L, W), (B, L), (N, R, W) -> (B, 2): column 1 is the score of text i and image `of[i]` being a pair."""
        return self.head(self.fusion(text_tokens, text_mask, image_tokens, of)[:, 0])

    def _draw(self, encodings: Encodings, pool: Tokens, direction: Direction, side: int) -> tuple[Tensor, Tensor]:
        """(B,) rows of the pool drawn as negatives, and whether the row has any that is allowed."""
        batch, candidates = encodings.batch, encodings.candidates
        allowed = (direction.relations.unrelated & candidates.valid)[:, pool.column]
        others = candidates.sample_id[pool.column]
        noise = gumbel(self.seed, side, batch.step, batch.sample_id[:, None], others[None])
        scores = direction.logits.detach()[:, pool.column].double() + noise
        return scores.masked_fill(~allowed, float("-inf")).argmax(1), allowed.any(1)
