"""The two sides a matcher compares: images as regions, captions as words, with what is computed of each once."""

from functools import cached_property

import torch
from torch import Tensor

EPS = 1e-8
"""What the hosts' released code adds to a norm before it divides by it."""


def l2norm(x: Tensor) -> Tensor:
    """x / (|x| + 1e-8) over the last axis; finite in value and slope where x is 0."""
    return x / (x.square().sum(-1, keepdim=True).clamp_min(1e-30).sqrt() + EPS)


def full(x: Tensor) -> Tensor:
    """At least float32: half precision is widened, float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Side:
    """N rows of T fragments: `vectors` (N, T, D), float32 at least, with 0 at what `mask` (N, T) leaves out.

    With zeros in the padding every raw dot product there is 0, so no l2 norm over fragments has to mask again.
    """

    def __init__(self, vectors: Tensor, mask: Tensor, complete: bool | None = None):
        """`complete` says whether no place is padding, or None that it has to be looked up where it is asked."""
        self.vectors, self.mask, self._complete = full(vectors).masked_fill(~mask[..., None], 0), mask, complete

    @classmethod
    def of_zeroed(cls, vectors: Tensor, mask: Tensor, complete: bool | None = None) -> "Side":
        """Of vectors that are wide enough and 0 at padding already: no copy."""
        made = cls.__new__(cls)
        made.vectors, made.mask, made._complete = vectors, mask, complete
        return made

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def fragments(self) -> int:
        """T, padding included."""
        return self.vectors.shape[1]

    @cached_property
    def complete(self) -> bool:
        """Whether no place is padding: then no pass over the scores has to mask it. To look it up, the host waits for
        a GPU."""
        return bool(self.mask.all()) if self._complete is None else self._complete

    @cached_property
    def gram(self) -> Tensor:
        """G = K K^T, (N, T, T)."""
        return self.vectors @ self.vectors.transpose(1, 2)

    @cached_property
    def norm(self) -> Tensor:
        """(N, T) lengths of the vectors."""
        return self.vectors.square().sum(-1).clamp_min(1e-30).sqrt()

    @cached_property
    def lengths(self) -> Tensor:
        """(N,) valid fragments."""
        return self.mask.sum(1)

    def to(self, device: torch.device | str) -> "Side":
        """The same on `device`."""
        return Side.of_zeroed(self.vectors.to(device), self.mask.to(device), self._complete)

    def take(self, rows: Tensor | slice, longest: int | None = None, complete: bool | None = None) -> "Side":
        """Some rows, cut to `longest` fragments."""
        return Side.of_zeroed(self.vectors[rows, :longest], self.mask[rows, :longest], self._complete or complete)

    def after(self, vectors: Tensor) -> "Side":
        """The same with one more fragment, `vectors` (N, D), before the others."""
        mask = torch.cat([self.mask.new_ones(len(self), 1), self.mask], dim=1)
        return Side.of_zeroed(torch.cat([vectors[:, None], self.vectors], dim=1), mask, self._complete)

    @property
    def rest(self) -> "Side":
        """The same without the first fragment."""
        return Side.of_zeroed(self.vectors[:, 1:], self.mask[:, 1:], self._complete)


def every(vectors: Tensor) -> Side:
    """The side of (N, T, D) vectors none of which is padding."""
    return Side(vectors, vectors.new_ones(vectors.shape[:2], dtype=torch.bool), complete=True)


def dots(image: Side, text: Side) -> Tensor:
    """S (I, R, C, L) of every region with every word: one matrix product, no copy after it."""
    flat = image.vectors.flatten(0, 1) @ text.vectors.flatten(0, 1).T
    return flat.view(len(image), image.fragments, len(text), text.fragments)


def paired_dots(image: Side, text: Side) -> Tensor:
    """S (P, R, 1, L) of matched pairs, in the axes of `dots`."""
    return torch.matmul(image.vectors, text.vectors.transpose(1, 2))[:, :, None]
