"""An encoder around a backbone: trained with the model, or frozen and outside of it.

A frozen encoder's output is a derived dataset: `features` computes it once, `forward` passes what was computed. Its
backbone is not part of the module tree, so nothing of it is trained, averaged, synchronised or checkpointed, and it is
loaded only where `features` or `identity` is called.
"""

import copy
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from xmodal.encoders.identity import settings_identity, state_digest
from xmodal.encoders.transformer import Tokenizer
from xmodal.settings import Settings


class Frozen:
    """A backbone in evaluation mode, loaded on first use; copies share it, pickles hold only how to load it."""

    def __init__(self, load: Callable[[], nn.Module]):
        self.load = load

    @cached_property
    def module(self) -> nn.Module:
        """Without weights of its own the backbone is drawn from a fixed seed: the same on every machine."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.load().eval().requires_grad_(False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its weights."""
        return state_digest(self.module.state_dict())

    def __call__(self, *inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return self.module.to(inputs[0].device)(*inputs).float()

    def __deepcopy__(self, memo: dict[int, object]) -> "Frozen":
        return self

    def __reduce__(self) -> tuple[type["Frozen"], tuple[Callable[[], nn.Module]]]:
        return Frozen, (self.load,)


class FrozenImage(nn.Module):
    """Cached tokens (B, R, width) pass through; `facts` name what else than settings and weights makes them."""

    def __init__(self, settings: Settings, width: int, load: Callable[[], nn.Module], facts: str = ""):
        super().__init__()
        self.settings, self.width, self.facts = settings, width, facts
        self.backbone = Frozen(load)

    def identity(self) -> str:
        """16 hex digits of the settings and the weights' bytes; loads the backbone."""
        return settings_identity(self.settings, self.backbone.digest + self.facts)

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, R, width) float32, without gradient."""
        return self.backbone(pixels)

    def forward(self, features: Tensor) -> Tensor:
        return features


class TrainedImage(nn.Module):
    """Pixels (B, 3, H, W) uint8 to (B, R, width) through a backbone that is trained."""

    def __init__(self, settings: Settings, width: int, load: Callable[[], nn.Module]):
        super().__init__()
        self.settings, self.width = settings, width
        self.backbone = load()

    def identity(self) -> str:
        """16 hex digits of the settings: the weights change in training."""
        return settings_identity(self.settings)

    def features(self, pixels: Tensor) -> Tensor:
        """What `forward` takes: the pixels themselves."""
        return pixels

    def forward(self, pixels: Tensor) -> Tensor:
        return self.backbone(pixels)


class FrozenText(nn.Module):
    """Cached tokens (B, L, width) pass through. `pool` makes of tokens and mask what is cached, and its mask."""

    def __init__(
        self,
        settings: Settings,
        width: int,
        load: Callable[[], nn.Module],
        tokenizer: Tokenizer,
        pool: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        facts: str,
    ):
        super().__init__()
        self.settings, self.width, self.facts = settings, width, facts
        self.tokenizer, self.pool = tokenizer, pool
        self.backbone = Frozen(load)

    def identity(self) -> str:
        """16 hex digits of the settings, the weights' bytes and the tokeniser; loads the backbone."""
        return settings_identity(self.settings, self.backbone.digest + self.facts)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(N, L) int64 ids and (N, L) bool mask."""
        return self.tokenizer(texts)

    def features(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) ids and mask -> (B, L or 1, width) float32 without gradient, and its mask."""
        return self.pool(self.backbone(ids, mask), mask)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        return features


class TrainedText(nn.Module):
    """Token ids (B, L) and their mask to (B, L, width) through a backbone that is trained."""

    def __init__(self, settings: Settings, width: int, load: Callable[[], nn.Module], tokenizer: Tokenizer):
        super().__init__()
        self.settings, self.width, self.tokenizer = settings, width, tokenizer
        self.backbone = load()

    def identity(self) -> str:
        """16 hex digits of the settings: the weights change in training."""
        return settings_identity(self.settings)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(N, L) int64 ids and (N, L) bool mask."""
        return self.tokenizer(texts)

    def features(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` takes: the ids and the mask themselves."""
        return ids, mask

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.backbone(ids, mask)


def train_only_what_is_used(backbone: nn.Module, *example: Tensor) -> nn.Module:
    """Stops the gradient of parameters that the tokens do not depend on (poolers, heads of another task).

    Left trainable they would never get a gradient, and distributed training would wait for it. Found by one backward
    pass of the backbone over `example`, in evaluation mode so that dropout leaves no path out.
    """
    copied = copy.deepcopy(backbone).eval()
    copied(*example).square().sum().backward()
    for ours, probed in zip(backbone.parameters(), copied.parameters(), strict=True):
        ours.requires_grad_(ours.requires_grad and probed.grad is not None)
    return backbone
