"""Pooling: the tokens of an image or a text as one vector.

`gpo` is the generalised pooling operator of VSE-infinity (Chen et al., CVPR 2021, section 4), which USER uses for both
modalities: a vector of weights over positions, learned as a function of how many tokens there are, is applied to
the tokens sorted channel by channel, so that mean, maximum and k-max pooling are special cases.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from xmodal.settings import Settings


class MeanPooling(Settings):
    """The mean over real tokens."""

    kind: Literal["mean"]

    def module(self) -> nn.Module:
        return Mean()


class GPO(Settings):
    """The generalised pooling operator: learned weights over sorted channels."""

    kind: Literal["gpo"]
    position_dim: int = Field(default=32, ge=2, multiple_of=2)
    """Width of the sinusoidal code of a position (USER 32)."""
    hidden: int = Field(default=32, ge=1)
    """Width of the BiGRU that reads the codes (USER 32)."""
    temperature: float = Field(default=0.1, gt=0)
    """Divisor of the scores before their softmax (USER 0.1)."""

    def module(self) -> nn.Module:
        return SortedPooling(self.position_dim, self.hidden, self.temperature)


PoolingSettings = Annotated[MeanPooling | GPO, Field(discriminator="kind")]
MEAN = MeanPooling(kind="mean")


def build(settings: MeanPooling | GPO) -> nn.Module:
    """(tokens (B, T, W), mask (B, T) bool) -> (B, W). Its weights come from a stream of their own: all others start as
    they do without them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, ())))
        return settings.module()


class Mean(nn.Module):
    """(B, T, W), (B, T) -> (B, W) mean over real tokens; 0 where there is none."""

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        weights = mask.to(tokens.dtype)[..., None]
        return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


class SortedPooling(nn.Module):
    """(B, T, W), (B, T) -> (B, W): sum_k theta_k (k-th largest of each channel), theta = softmax of the BiGRU's scores
    of the positions 0 .. n - 1 of n real tokens; 0 where there is none."""

    def __init__(self, position_dim: int, hidden: int, temperature: float):
        super().__init__()
        self.position_dim, self.temperature = position_dim, temperature
        self.gru = nn.GRU(position_dim, hidden, batch_first=True, bidirectional=True)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        count = mask.sum(1)
        ordered = tokens.masked_fill(~mask[..., None], float("-inf")).sort(dim=1, descending=True).values
        real = torch.arange(tokens.shape[1], device=mask.device) < count[:, None]
        weights = self.weights(count, tokens.shape[1]).masked_fill(~real, 0).to(tokens.dtype)
        return (ordered.masked_fill(~real[..., None], 0) * weights[..., None]).sum(1)

    def weights(self, count: Tensor, length: int) -> Tensor:
        """(B, length) float32 theta for rows of `count` (B,) tokens; a function of the number alone, so computed once
        for each there can be: which there are only the device knows."""
        codes = positions(length, self.position_dim, count.device).expand(length, -1, -1)
        packed = pack_padded_sequence(codes, torch.arange(length, 0, -1), batch_first=True)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=length)
        both = states.unflatten(2, (2, -1)).mean(2)
        place = torch.arange(length, device=count.device)
        beyond = place >= length - place[:, None]
        scores = self.score(both)[..., 0].float().masked_fill(beyond, float("-inf"))
        return (scores / self.temperature).softmax(1)[length - count.clamp(min=1)]


def positions(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """(length, width) sines and cosines in turn (Vaswani et al., NeurIPS 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angle = torch.arange(length, device=device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
