"""The key encoder: an exponential moving average of the query encoder.

theta_k <- m_t theta_k + (1 - m_t) theta_q     (MoCo, He et al., CVPR 2020, eq. 2), once per optimizer step, after it.

The average is kept in float32 whatever the query encoder's dtype: in bfloat16 a step of (1 - m) is below the spacing
of the weights and the key encoder would stand still. Buffers (batch-norm statistics) are copied.
"""

import copy
import math
from typing import Generic, Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.settings import Settings

Query = TypeVar("Query", bound=nn.Module)


class MomentumSettings(Settings):
    """How slowly the key encoder follows."""

    coefficient: float = Field(default=0.995, ge=0, le=1)
    """m, share of the old key weights that a step keeps; ALBEF and BLIP 0.995, MoCo and USER 0.999."""
    warmup: int = Field(default=1, ge=1)
    """How long the first steps follow faster: m_t = min(m, (1 + t) / (warmup + t)) at optimizer step t; 1 = never. A
    warm-up makes what the queue has stored stale (see docs/method.md)."""
    cosine: int = Field(default=0, ge=0)
    """T, optimizer steps over which m rises from the coefficient to 1 along half a cosine (MoCo v3, Chen et al., ICCV
    2021): m_t = 1 - (1 - m) (1 + cos(pi t / T)) / 2; 0 = m stays."""
    key_dropout: bool = False
    """Whether the key encoder keeps its dropout while training, as ALBEF and USER do; without it keys are
    deterministic."""

    def at(self, step: int) -> float:
        """m_t at optimizer step `step` (0-based)."""
        done = min(step, self.cosine) / max(1, self.cosine)
        risen = self.coefficient + (1 - self.coefficient) * (1 - math.cos(math.pi * done)) / 2
        return min(risen, (1 + step) / (self.warmup + step))

    @property
    def changes(self) -> bool:
        """Whether m is another at some steps."""
        return self.warmup > 1 or self.cosine > 0

    def staleness(self, age: int, step: int) -> float:
        """S = 1 - prod m_t over the `age` steps before `step`: how far the key encoder has moved by then since a key of
        that age was made (0 none, 1 all); 1 - m^age where m stays."""
        return 1 - math.prod(self.at(one) for one in range(max(0, step - age), step))

    def build(self, query: Query) -> "KeyEncoder[Query]":
        return KeyEncoder(query, self)


class Distillation(Settings):
    """Momentum distillation (ALBEF, Li et al., NeurIPS 2021, section 3.3): targets are softened by what the key encoder
    says."""

    alpha: float = Field(default=0.4, gt=0, le=1)
    """Share of the key encoder's softmax in the targets, after the ramp."""
    ramp: int = Field(default=0, ge=0)
    """Samples over which the share rises from 0 to alpha."""

    def share(self, samples: int) -> float:
        """alpha after `samples` samples."""
        return self.alpha * min(1.0, (samples + 1) / (self.ramp + 1))


class KeyEncoder(nn.Module, Generic[Query]):
    """A float32 copy of `query`, in `encoder`, that learns by averaging alone: no gradient reaches it.

    A task may own one too, of its own modules: the model makes all of them follow, and a checkpoint keeps them apart.
    """

    encoder: Query

    def __init__(self, query: Query, settings: MomentumSettings):
        super().__init__()
        self.settings = settings
        self._query = (query,)  # in a tuple: it is no part of this module
        self.encoder = copy.deepcopy(query).float().requires_grad_(False)
        self.train(False)

    @property
    def query(self) -> Query:
        """What this is the average of."""
        return self._query[0]

    def train(self, mode: bool = True) -> Self:
        """Follows the model's mode only where `key_dropout` asks for it."""
        return super().train(mode and self.settings.key_dropout)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """One step of the average towards `query`, in place."""
        average: list[Tensor] = list(self.encoder.parameters())
        latest = [weight.detach().to(mean.dtype) for weight, mean in zip(self.query.parameters(), average, strict=True)]
        torch._foreach_lerp_(average, latest, 1 - self.settings.at(step))  # pyright: ignore[reportPrivateImportUsage]
        self._copy_buffers()

    @torch.no_grad()
    def reset(self) -> None:
        """Makes the key encoder equal to `query`: where a run starts from other weights."""
        for mean, latest in zip(self.encoder.parameters(), self.query.parameters(), strict=True):
            mean.copy_(latest)
        self._copy_buffers()

    def _copy_buffers(self) -> None:
        for copied, buffer in zip(self.encoder.buffers(), self.query.buffers(), strict=True):
            copied.copy_(buffer)
