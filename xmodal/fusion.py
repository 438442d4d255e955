"""Image-grounded text: a fusion encoder for matching, a decoder for captions.

Both let text attend to image tokens by cross-attention in every block, as in ALBEF (Li et al. 2021) and BLIP (Li et
al. 2022). Image tokens (B, R, image_width) are all valid.
"""

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.beam_search import beam_search
from xmodal.encoders.blocks import EACH, CrossBlock, causal_bias, check_heads, initialise, key_bias, no_bias
from xmodal.settings import Settings
from xmodal.wordpiece import CLS, MASK, PAD, UNK


class CrossAttentionSettings(Settings):
    """Blocks of self-attention, cross-attention to the image, and feed-forward."""

    width: int = Field(default=128, ge=8)
    """Width of the tokens inside (W)."""
    depth: int = Field(default=2, ge=1)
    """Number of blocks."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; they divide the width."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after attention and feed-forward. Above 0 a run depends on the number of workers."""

    @model_validator(mode="after")
    def _divides(self) -> "CrossAttentionSettings":
        check_heads(self.width, self.heads)
        return self

    def blocks(self, image_width: int) -> nn.ModuleList:
        """The blocks, initialised."""
        made = [CrossBlock(self.width, image_width, self.heads, self.dropout) for _ in range(self.depth)]
        return nn.ModuleList(made).apply(initialise)


class FusionSettings(CrossAttentionSettings):
    """The fusion encoder."""

    def build(self, text_width: int, image_width: int) -> "FusionEncoder":
        """An encoder over text tokens of `text_width`."""
        return FusionEncoder(self, text_width, image_width)


class DecoderSettings(CrossAttentionSettings):
    """The caption decoder."""

    def build(self, vocabulary: int, length: int, image_width: int) -> "CaptionDecoder":
        """A decoder over `vocabulary` (V) WordPiece ids for captions of at most `length` tokens."""
        return CaptionDecoder(self, vocabulary, length, image_width)


class FusionEncoder(nn.Module):
    """Text tokens that have seen the image."""

    def __init__(self, settings: FusionSettings, text_width: int, image_width: int):
        super().__init__()
        self.width = settings.width
        self.enter = nn.Linear(text_width, settings.width)
        self.image_norm = nn.LayerNorm(image_width)
        self.blocks = settings.blocks(image_width)
        self.norm = nn.LayerNorm(settings.width)

    def forward(self, text: Tensor, mask: Tensor, image: Tensor, of: Tensor | slice = EACH) -> Tensor:
        """(B, L, text_width), (B, L) bool, (N, R, image_width) -> (B, L, W): text i has seen image `of[i]`, image i
        without it."""
        x = self.enter(text)
        bias, image_bias, seen = key_bias(mask, x), no_bias(x), self.image_norm(image)
        for block in self.blocks:
            x = block(x, bias, seen, image_bias, of)
        return self.norm(x)

    def attention(self, text: Tensor, mask: Tensor, image: Tensor, layer: int) -> Tensor:
        """(B, L, R) weights of the text tokens over the image tokens in block `layer`, the mean over its heads."""
        x = self.enter(text)
        bias, image_bias, seen = key_bias(mask, x), no_bias(x), self.image_norm(image)
        for block in self.blocks[:layer]:
            x = block(x, bias, seen, image_bias)
        return self.blocks[layer].cross_weights(x, bias, seen, image_bias).mean(1)  # pyright: ignore


class CaptionDecoder(nn.Module):
    """Next-token logits of a caption given its image; the output shares the input's embedding (Press and Wolf 2017)."""

    never: Tensor

    def __init__(self, settings: DecoderSettings, vocabulary: int, length: int, image_width: int):
        super().__init__()
        self.length = length
        self.token = nn.Embedding(vocabulary, settings.width).apply(initialise)
        self.position = nn.Embedding(length, settings.width).apply(initialise)
        self.image_norm = nn.LayerNorm(image_width)
        self.blocks = settings.blocks(image_width)
        self.norm = nn.LayerNorm(settings.width)
        never = torch.zeros(vocabulary).index_fill(0, torch.tensor([PAD, UNK, CLS, MASK]), -torch.inf)
        self.register_buffer("never", never, persistent=False)

    def forward(self, caption: Tensor, image: Tensor) -> Tensor:
        """(B, C) ids from [CLS] on, (B, R, image_width) -> logits (B, C, V); place i predicts the id at i + 1.

        Place i sees ids 0..i only, so padding after the end changes nothing before it. Raises ValueError for C above
        the `length` it is built for.
        """
        return F.linear(self.hidden(caption, image), self.token.weight)

    def hidden(self, caption: Tensor, image: Tensor) -> Tensor:
        """(B, C, W), of which the logits are a linear function."""
        if caption.shape[1] > self.length:
            raise ValueError(f"this decoder takes captions of {self.length} tokens, not {caption.shape[1]}")
        x = self.token(caption) + self.position(torch.arange(caption.shape[1], device=caption.device))
        bias, image_bias, seen = causal_bias(caption.shape[1], x), no_bias(x), self.image_norm(image)
        for block in self.blocks:
            x = block(x, bias, seen, image_bias)
        return self.norm(x)

    def attention(self, caption: Tensor, image: Tensor) -> Tensor:
        """(B, C, R) weights over the image tokens in the last block, the mean over its heads, for what `forward` takes:
        place i looks when it predicts the id at i + 1."""
        x = self.token(caption) + self.position(torch.arange(caption.shape[1], device=caption.device))
        bias, image_bias, seen = causal_bias(caption.shape[1], x), no_bias(x), self.image_norm(image)
        for block in self.blocks[:-1]:
            x = block(x, bias, seen, image_bias)
        return self.blocks[-1].cross_weights(x, bias, seen, image_bias).mean(1)  # pyright: ignore

    def generate(self, image: Tensor, length: int, beams: int = 1) -> Tensor:
        """(B, T) ids of captions, T <= length: [CLS] words [SEP] [PAD] ...; one beam is greedy.

        [PAD], [UNK], [CLS] and [MASK] are never chosen. A caption that does not end in time has no [SEP].
        """

        def scores(captions: Tensor, owner: Tensor) -> Tensor:
            return F.linear(self.hidden(captions, image[owner])[:, -1], self.token.weight) + self.never

        return beam_search(scores, len(image), min(length, self.length), beams, image.device)
