"""Heads: tokens into the shared space, pooled before the projection or after it."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.pooling import Mean
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


class Tokenwise(Settings):
    """Every token is projected, then they are pooled: `fc(t) + MLP(t)` (USER's image encoder), or `fc(t)` (its text
    encoder). No norm stands before it."""

    kind: Literal["tokenwise"]
    hidden: int = Field(default=0, ge=0)
    """Width inside the perceptron that is added to the matrix: USER 512 for regions; 0 = the matrix alone."""
    norm: Literal["layer", "batch"] = "layer"
    """Norm of the perceptron's hidden layer: each token alone, or, as USER, statistics over the batch, with which a run
    depends on the number of workers."""


HeadSettings = Annotated[Linear | MLP | Identity | Tokenwise, Field(discriminator="kind")]


def build(
    settings: Linear | MLP | Identity | Tokenwise, frozen: bool, width: int, embed_dim: int, pool: nn.Module
) -> "Head | TokenwiseHead":
    """A head over tokens of `width`: (tokens (B, T, W), mask (B, T)) -> (B, D) unit vectors."""
    if settings.kind == "tokenwise":
        return TokenwiseHead(settings, width, embed_dim, pool)
    norm = Standardise(width) if frozen else nn.LayerNorm(width)
    return Head(settings, norm, width, embed_dim, pool)


class Head(nn.Module):
    """Tokens (B, T, W) to unit vectors (B, D): pooling, norm, projection, l2 norm in float32."""

    def __init__(
        self,
        settings: Linear | MLP | Identity,
        norm: nn.Module,
        width: int,
        embed_dim: int,
        pool: nn.Module | None = None,
    ):
        super().__init__()
        self.norm = norm if settings.norms else nn.Identity()
        self.projection = nn.Sequential(*settings.layers(width, embed_dim))
        self.pool = pool or Mean()

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.of_vectors(self.pool(tokens, mask))

    def of_vectors(self, vectors: Tensor) -> Tensor:
        """(..., W) pooled vectors, or single tokens, into the shared space: (..., D) unit vectors."""
        return normalize(self.projection(self.norm(vectors)).float(), dim=-1)


class TokenwiseHead(nn.Module):
    """Tokens (B, T, W) to unit vectors (B, D): projection of each token, pooling, l2 norm in float32."""

    def __init__(self, settings: Tokenwise, width: int, embed_dim: int, pool: nn.Module):
        super().__init__()
        self.direct = nn.Linear(width, embed_dim)
        nn.init.xavier_uniform_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)
        self.added = perceptron(settings, width, embed_dim) if settings.hidden else Nothing()
        self.pool = pool

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return normalize(self.pool(self._projected(tokens), mask).float(), dim=-1)

    def of_vectors(self, vectors: Tensor) -> Tensor:
        """(B, T, W) single tokens into the shared space: (B, T, D) unit vectors."""
        return normalize(self._projected(vectors).float(), dim=-1)

    def _projected(self, tokens: Tensor) -> Tensor:
        return self.direct(tokens) + self.added(tokens)


def perceptron(settings: Tokenwise, width: int, embed_dim: int) -> nn.Sequential:
    """Linear, norm, ReLU, linear, token by token."""
    norms = {"layer": nn.LayerNorm, "batch": TokenBatchNorm}
    inner = [nn.Linear(width, settings.hidden), norms[settings.norm](settings.hidden), nn.ReLU()]
    return nn.Sequential(*inner, nn.Linear(settings.hidden, embed_dim))


class TokenBatchNorm(nn.BatchNorm1d):
    """Statistics over all tokens of a batch (B, T, W), padding included."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, 1)).view_as(input)


class Nothing(nn.Module):
    """Adds nothing."""

    def forward(self, tokens: Tensor) -> float:
        return 0.0


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
