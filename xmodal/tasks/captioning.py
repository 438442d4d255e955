"""LM, captioning: a decoder over the query encoder's image tokens predicts each piece of the caption.

    L_lm = -1/T sum_t log p(w_t | w_<t, image)       (BLIP, Li et al., ICML 2022, section 3.2), with label smoothing

The mean is over the tokens of the whole global batch, so a rank with short captions does not weigh more. Two additions,
both off unless asked for, are a documented reading of ReCap's momentum encoding as a bridge (Tao et al., Sensors 2024):

    bridge            L_lm + w_bridge L_lm(key encoder's image tokens, without gradient), by the same decoder
    distillation      (1 - alpha) L + alpha * sum_v -p'_v log p_v, p' of the decoder's own average on the key encoder's
                      image tokens (as ALBEF, Li et al., NeurIPS 2021, eq. 7, softens the targets of MLM)
"""

from collections.abc import Callable
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from xmodal.distributed import global_mean
from xmodal.encodings import Encodings
from xmodal.fusion import CaptionDecoder, DecoderSettings
from xmodal.momentum import Distillation, KeyEncoder
from xmodal.settings import Settings
from xmodal.sizes import Sizes
from xmodal.wordpiece import PAD


class LM(Settings):
    """Captioning task."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of each target spread evenly over the vocabulary (BLIP 0.1)."""
    bridge: float = Field(default=0.0, ge=0)
    """w_bridge, weight of the same loss on the key encoder's image tokens; 0 = not computed."""
    distillation: Distillation | None = None
    """Soft labels from an average of the decoder; without it captions alone are the labels."""
    decoder: DecoderSettings = DecoderSettings()
    """The caption decoder."""

    def build(self, sizes: Sizes) -> "Captioning":
        decoder = self.decoder.build(sizes.vocabulary, length=sizes.caption_length, image_width=sizes.image_width)
        hard = HardLabels(self.label_smoothing)
        soft = self.distillation
        labels = hard if soft is None else SoftLabels(hard, soft, sizes.momentum.build(decoder))
        conditions = [(1.0, query_tokens), *([(self.bridge, key_tokens)] if self.bridge else [])]
        return Captioning(decoder, labels, conditions)


def query_tokens(encodings: Encodings) -> Tensor:
    return encodings.image_tokens


def key_tokens(encodings: Encodings) -> Tensor:
    return encodings.key_image_tokens


Condition = tuple[float, Callable[[Encodings], Tensor]]
"""A weight, and the image tokens (B, R, W) that the decoder sees."""


class Captioning(nn.Module):
    """The task: the decoder, its labels, and the image tokens it learns from."""

    def __init__(self, decoder: CaptionDecoder, labels: "HardLabels | SoftLabels", conditions: list[Condition]):
        super().__init__()
        self.decoder, self.labels, self.conditions = decoder, labels, conditions

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over tokens, a scalar."""
        caption = encodings.batch.caption
        losses = self.labels(caption, encodings)
        rows = sum(weight * losses(self.decoder(caption[:, :-1], of(encodings))) for weight, of in self.conditions)
        counted = (caption[:, 1:] != PAD) & encodings.batch.valid[:, None]
        return global_mean(torch.as_tensor(rows), counted.flatten())

    @torch.no_grad()
    def generate(self, image_tokens: Tensor, length: int, beams: int = 1) -> Tensor:
        """(B, R, W) -> (B, C) ids of captions of at most `length` pieces, the best of a search with `beams` places."""
        return self.decoder.generate(image_tokens, length, beams)


Losses = Callable[[Tensor], Tensor]
"""Logits (B, C, V) -> (B * C,) loss of each token."""


class HardLabels(nn.Module):
    """Labels as the captions give them, smoothed."""

    def __init__(self, smoothing: float):
        super().__init__()
        self.smoothing = smoothing

    def forward(self, caption: Tensor, encodings: Encodings) -> Losses:
        return partial(self.losses, following=caption[:, 1:].flatten())

    def losses(self, logits: Tensor, following: Tensor) -> Tensor:
        flat = logits.float().flatten(0, 1)
        return cross_entropy(flat, following, reduction="none", label_smoothing=self.smoothing)


class SoftLabels(nn.Module):
    """Part of each label is what the decoder's average says, given the key encoder's image tokens."""

    def __init__(self, hard: HardLabels, settings: Distillation, key: KeyEncoder[CaptionDecoder]):
        super().__init__()
        self.hard, self.settings, self.key = hard, settings, key

    def forward(self, caption: Tensor, encodings: Encodings) -> Losses:
        with torch.no_grad():
            told = self.key.encoder(caption[:, :-1], encodings.key_image_tokens).float().softmax(-1)
        alpha, hard = self.settings.share(encodings.samples_seen), self.hard(caption, encodings)
        return partial(self.losses, hard=hard, told=told.flatten(0, 1), alpha=alpha)

    def losses(self, logits: Tensor, hard: Losses, told: Tensor, alpha: float) -> Tensor:
        soft = -(told * log_softmax(logits.float().flatten(0, 1), -1)).sum(-1)
        return (1 - alpha) * hard(logits) + alpha * soft
