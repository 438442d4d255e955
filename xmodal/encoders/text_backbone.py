"""A pretrained text model between token ids and tokens: how it is given padding, and what of its output is taken."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from xmodal.encoders import own
from xmodal.encoders.towers import FrozenText, TrainedText, train_only_what_is_used
from xmodal.encoders.transformer import Tokenizer
from xmodal.settings import Settings
from xmodal.wordpiece import CLS, SEP


class Masked:
    """Padding is masked: what stands there changes nothing."""

    def __call__(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The model's inputs for (B, L) ids and mask."""
        return {"input_ids": ids, "attention_mask": mask.long()}


@dataclass(frozen=True)
class Padded:
    """Padded to `places` with the id `pad`, which is read like any word, as SigLIP was trained (Zhai et al. 2023)."""

    pad: int
    places: int

    def __call__(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The model's inputs for (B, L) ids and mask; its output is longer than L."""
        filled = ids.masked_fill(~mask, self.pad)
        return {"input_ids": pad(filled, [0, self.places - ids.shape[1]], value=self.pad)}


class TextBackbone(nn.Module):
    """(B, L) ids and mask -> (B, L, D)."""

    def __init__(self, model: nn.Module, reading: Masked | Padded, pool: str):
        super().__init__()
        self.model, self.reading, self.take = model, reading, TAKEN[pool]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.take(self.model, self.reading(ids, mask), ids.shape[1])


def every_token(model: nn.Module, inputs: dict[str, Tensor], length: int) -> Tensor:
    """(B, L, D) of the last hidden state."""
    return model(**inputs).last_hidden_state[:, :length]


def own_token(model: nn.Module, inputs: dict[str, Tensor], length: int) -> Tensor:
    """(B, L, D): the model's own embedding at every place, so that the mean over any of them is itself."""
    return own.embedding(model, "text", **inputs)[:, None].expand(-1, length, -1)


TAKEN = {"tokens": every_token, "mean": every_token, "own": own_token}


def all_tokens(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L, D) as they are; places that the mask leaves out are 0."""
    return tokens * mask[..., None], mask


def mean_pooled(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, D): the mean over the valid places, and a mask of ones; a row without valid places is 0."""
    weights = mask[..., None].to(tokens.dtype)
    mean = (tokens * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1)
    return mean, mask.new_ones(mask.shape[0], 1)


def first_token(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, D): the first place, and a mask of ones."""
    return tokens[:, :1], mask.new_ones(mask.shape[0], 1)


CACHED = {"tokens": all_tokens, "mean": mean_pooled, "own": first_token}


def text_encoder(
    settings: Settings,
    frozen: bool,
    pool: str,
    width: int,
    load: Callable[[], TextBackbone],
    tokenizer: Tokenizer,
    facts: str,
) -> FrozenText | TrainedText:
    """The encoder around what `load` gives; `facts` name what else than settings and weights makes frozen tokens."""
    if frozen:
        return FrozenText(settings, width, load, tokenizer, CACHED[pool], facts)
    return TrainedText(settings, width, partial(_trainable, load), tokenizer)


def _trainable(load: Callable[[], TextBackbone]) -> nn.Module:
    """With the gradient stopped where it would not arrive."""
    ids = torch.tensor([[CLS, SEP]])
    return train_only_what_is_used(load(), ids, torch.ones_like(ids, dtype=torch.bool))
