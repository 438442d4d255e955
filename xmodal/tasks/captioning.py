"""LM, captioning: a decoder over the query encoder's image tokens predicts each piece of the caption.

    L_lm = -1/T sum_t log p(w_t | w_<t, image)       (BLIP, Li et al., ICML 2022, section 3.2), with label smoothing

The mean is over the tokens of the whole global batch, so a rank with short captions does not weigh more.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from xmodal.distributed import global_mean
from xmodal.encodings import Encodings
from xmodal.fusion import DecoderSettings
from xmodal.settings import Settings
from xmodal.sizes import Sizes
from xmodal.wordpiece import PAD


class LM(Settings):
    """Captioning task."""

    weight: float = Field(default=1.0, gt=0)
    """Factor of the loss in the total."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of each target spread evenly over the vocabulary (BLIP 0.1)."""
    decoder: DecoderSettings = DecoderSettings()
    """The caption decoder."""

    def build(self, sizes: Sizes) -> "Captioning":
        decoder = self.decoder.build(sizes.vocabulary, length=sizes.caption_length, image_width=sizes.image_width)
        return Captioning(decoder, self.label_smoothing)


class Captioning(nn.Module):
    """The task: the decoder."""

    def __init__(self, decoder: nn.Module, label_smoothing: float):
        super().__init__()
        self.decoder, self.label_smoothing = decoder, label_smoothing

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over tokens, a scalar."""
        caption = encodings.batch.caption
        logits = self.decoder(caption[:, :-1], encodings.image_tokens)
        following = caption[:, 1:]
        losses = cross_entropy(
            logits.float().flatten(0, 1), following.flatten(), reduction="none", label_smoothing=self.label_smoothing
        )
        counted = (following != PAD) & encodings.batch.valid[:, None]
        return global_mean(losses, counted.flatten())

    @torch.no_grad()
    def generate(self, image_tokens: Tensor, length: int, beams: int = 1) -> Tensor:
        """(B, R, W) -> (B, C) ids of captions of at most `length` pieces, the best of a search with `beams` places."""
        return self.decoder.generate(image_tokens, length, beams)  # pyright: ignore[reportCallIssue]
