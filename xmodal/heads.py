"""Heads: pooled tokens into the shared space."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.settings import Settings, SettingsError


class Linear(Settings):
    """One matrix (CLIP, ALBEF)."""

    kind: Literal["linear"]
    norms: ClassVar[bool] = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of the pooled vector. Above 0 a run depends on the number of workers."""

    def layers(self, width: int, embed_dim: int) -> list[nn.Module]:
        return [nn.Dropout(self.dropout), nn.Linear(width, embed_dim)]


class MLP(Settings):
    """Two matrices with a GELU between (MoCo v2)."""

    kind: Literal["mlp"]
    norms: ClassVar[bool] = True
    hidden: int = Field(default=1024, ge=1)
    """Width between the matrices."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before each matrix. Above 0 a run depends on the number of workers."""

    def layers(self, width: int, embed_dim: int) -> list[nn.Module]:
        first = [nn.Dropout(self.dropout), nn.Linear(width, self.hidden), nn.GELU()]
        return [*first, nn.Dropout(self.dropout), nn.Linear(self.hidden, embed_dim)]


class Identity(Settings):
    """One matrix that starts as the identity, and no norm before it: training starts from the encoders' own space, and
    an untrained model is that space. Needs encoders of one width, which is `embed_dim`."""

    kind: Literal["identity"]
    norms: ClassVar[bool] = False

    def layers(self, width: int, embed_dim: int) -> list[nn.Module]:
        """Raises SettingsError where the matrix would not be square."""
        if width != embed_dim:
            raise SettingsError(
                f"model.head: kind identity needs embed_dim {width} as the encoder has, not {embed_dim}"
            )
        matrix = nn.Linear(width, width, bias=False)
        nn.init.eye_(matrix.weight)
        return [matrix]


HeadSettings = Annotated[Linear | MLP | Identity, Field(discriminator="kind")]


class Head(nn.Module):
    """Tokens (B, T, W) to unit vectors (B, D): mean over real tokens, norm, projection, l2 norm in float32."""

    def __init__(self, settings: Linear | MLP | Identity, norm: nn.Module, width: int, embed_dim: int):
        super().__init__()
        self.norm = norm if settings.norms else nn.Identity()
        self.projection = nn.Sequential(*settings.layers(width, embed_dim))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return normalize(self.projection(self.norm(pooled(tokens, mask))).float(), dim=-1)


def pooled(tokens: Tensor, mask: Tensor) -> Tensor:
    """(B, T, W), (B, T) -> (B, W) mean over real tokens."""
    weights = mask.to(tokens.dtype)[..., None]
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


class Standardise(nn.Module):
    """Each dimension to mean 0 and deviation 1 over the training set: for features that no layer before can adapt.

    Frozen features differ in scale by orders of magnitude between dimensions, and a norm over one vector leaves that as
    it is. The statistics are buffers: fitted before the first step, saved, and copied to the key encoder.
    """

    def __init__(self, width: int):
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    @torch.no_grad()
    def fit(self, vectors: Tensor) -> None:
        """Takes the statistics of (N, W) pooled training vectors; a constant dimension keeps its scale."""
        deviation = vectors.double().std(0, correction=0)
        self.mean.copy_(vectors.double().mean(0))
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean) / self.deviation
