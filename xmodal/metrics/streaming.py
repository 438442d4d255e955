"""Ranks of a captioned set without its score matrix, for scores that are dear to compute and too many to keep.

Pass 1 scores the true pairs alone: gold_t of each caption with its image, and the best gold of each image. Pass 2 goes
through all pairs in blocks and counts, for each caption, wrong images that score above and beside its gold and, for
each image, wrong captions above and beside its best gold. Memory grows with images plus captions. The `Ranks` made of
the counts are those of `retrieval`: ties by expectation, `pessimistic` = wrong ones that score at least as high.

A score computed again in another block may differ in its last bits, so scores within `TIE` of the gold count as tied,
of scores above 1 within that share of them. A score that saturates (a sigmoid) must come as what it is made of: near
its ends more than last bits lie within `TIE`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xmodal import distributed
from xmodal.metrics.retrieval import Ranks

TIE = 1e-6
Scores = Callable[[Tensor, Tensor], Tensor]
"""(images (i,), captions (t,)) as row numbers -> (i, t) scores of all their pairs."""


@dataclass(frozen=True)
class Gold:
    """What pass 1 found."""

    owner: Tensor
    """(T,) image of each caption; -1 = its image is not in the gallery."""
    caption: Tensor
    """(T,) float32 score of the true pair, +inf without one: nothing is counted above it."""
    image: Tensor
    """(I,) float32 best score of an image's captions, +inf without one."""


def gold(scores: Scores, owner: Tensor, images: int) -> Gold:
    """Scores the true pairs, an image with all its captions at a time."""
    caption = torch.full((len(owner),), torch.inf)
    image = torch.full((images,), torch.inf)
    order = torch.argsort(owner, stable=True)
    owners, counts = torch.unique_consecutive(owner[order], return_counts=True)
    for one, own in zip(owners.tolist(), order.split(counts.tolist()), strict=True):
        if one >= 0:
            caption[own] = scores(torch.tensor([one]), own)[0].float().cpu()
            image[one] = caption[own].max()
    return Gold(owner, caption, image)


def streamed(scores: Scores, owner: Tensor, images: int, step: tuple[int, int] = (256, 512)) -> tuple[Ranks, Ranks]:
    """Ranks i2t of `images` images and t2i of captions with `owner` (T,), in blocks of `step` images and captions.

    In a process group each worker scores its share of the blocks, and all get the same ranks. Raises ValueError where
    a score is not finite, or where the true pairs score differently in the two passes.
    """
    found = gold(scores, owner, images)
    shape = (2, images + len(owner))
    counts = torch.zeros(shape, dtype=torch.int64)
    share, shares = distributed.rank(), distributed.world_size()
    for number, (rows, columns) in enumerate(_blocks(images, len(owner), step)):
        if number % shares == share:
            _count(scores(rows, columns).float().cpu(), rows, columns, found, counts)
    above, tied = distributed.sum_across(counts)
    own = owner[owner >= 0]
    tied_own = _per_image((found.caption >= found.image[owner] - _rounding(found.caption))[owner >= 0], own, images)
    i2t = _ranks(above[:images], tied[:images], tied_own, torch.bincount(own, minlength=images), len(owner))
    has = (owner >= 0).long()
    return i2t, _ranks(above[images:], tied[images:], has, has, images)


def _count(block: Tensor, rows: Tensor, columns: Tensor, found: Gold, counts: Tensor) -> None:
    """Adds to `counts` (2, I + T), above and tied, what a block shows."""
    if not torch.isfinite(block).all():
        raise ValueError("a retrieval score is not finite: the matcher gave NaN or infinity")
    right = found.owner[columns][None] == rows[:, None]
    caption, image, near = found.caption[columns][None], found.image[rows][:, None], _rounding(block)
    if ((block - caption).abs() > 100 * near)[right].any():
        raise ValueError("a true pair scores differently beside other pairs: the matcher depends on its batch")
    images = len(found.image)
    for axis, best, places in ((1, image, rows), (0, caption, columns + images)):
        counts[0, places] += ((block > best + near) & ~right).sum(axis)
        counts[1, places] += (((block - best).abs() <= near) & ~right).sum(axis)


def _rounding(scores: Tensor) -> Tensor:
    """By what each score may differ from itself."""
    return TIE * scores.abs().clamp(min=1)


def _blocks(images: int, captions: int, step: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    for rows in torch.arange(images).split(step[0]):
        for columns in torch.arange(captions).split(step[1]):
            yield rows, columns


def _per_image(values: Tensor, own: Tensor, images: int) -> Tensor:
    return torch.zeros(images, dtype=torch.int64).index_add_(0, own, values.long())


def _ranks(above: Tensor, tied: Tensor, tied_right: Tensor, right: Tensor, gallery: int) -> Ranks:
    return Ranks(above.numpy(), tied.numpy(), tied_right.numpy(), right.numpy(), gallery)
