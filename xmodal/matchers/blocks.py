"""All pairs in blocks of bounded memory. Captions are sorted by length, so that a block is no wider than its captions.

Where a step's scores fit the budget, the backward keeps what it needs; beyond it blocks are recomputed in the backward
(checkpointing), so that memory stays bounded there as well.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xmodal.matchers.sides import Side

STEP = 4
"""Captions of a block have lengths that round up to the same multiple of this."""
FEWEST = 16
"""Images that fit beside a block of captions, where there are as many and the budget holds them."""
Block = Callable[[Side, Side], Tensor]
Entries = Callable[[int, int], int]
"""(regions, words) -> numbers that a pair needs in the largest tensor."""


def score_blocks(
    block: Block, entries: Entries, image: Side, text: Side, max_entries: int, together: int = 1
) -> Tensor:
    """(I, C) scores of `block`, which is given at most `max_entries` numbers, but one caption with `together` images at
    least."""
    order = torch.argsort(text.lengths, stable=True)
    room = max_entries // max(1, min(max(FEWEST, together), len(image)))
    cuts = _captions(text, order, image, entries, room)
    captions = [text.take(order[rows], width, full) for rows, width, full in cuts]
    largest = max(len(one) * entries(image.fragments, one.fragments) for one in captions)
    images = list(_images(image, max(1, together, max_entries // max(1, largest))))
    total = sum(len(image) * len(one) * entries(image.fragments, one.fragments) for one in captions)
    scored = _recomputed(block) if torch.is_grad_enabled() and total > max_entries else block
    rows = [torch.cat([scored(some, one) for one in captions], dim=1) for some in images]
    return torch.cat(rows)[:, torch.argsort(order)]


def _captions(text: Side, order: Tensor, image: Side, entries: Entries, room: int) -> Iterator[tuple[slice, int, bool]]:
    """Ranges of the order with their width, and whether all fill it: captions of one width, as many as fit into `room`
    beside one image. The host reads the lengths, so it waits for a GPU here, once a step."""
    lengths: list[int] = text.lengths[order].tolist()
    widths = [max(1, min(text.fragments, -(-length // STEP) * STEP)) for length in lengths]
    start = 0
    if not widths:  # a worker without rows still runs the host, so that its parameters get their gradient of 0
        yield slice(0, 0), 1, True
    while start < len(widths):
        width = widths[start]
        most = max(1, room // entries(image.fragments, width))
        stop = start
        while stop < len(widths) and widths[stop] == width and stop - start < most:
            stop += 1
        yield slice(start, stop), width, lengths[start] >= width
        start = stop


def _images(image: Side, step: int) -> Iterator[Side]:
    for start in range(0, max(1, len(image)), step):
        yield image if step >= len(image) else image.take(slice(start, start + step))


def _recomputed(block: Block) -> Block:
    def scored(image: Side, text: Side) -> Tensor:
        def again(regions: Tensor, words: Tensor) -> Tensor:
            return block(
                Side.of_zeroed(regions, image.mask, image.complete), Side.of_zeroed(words, text.mask, text.complete)
            )

        return checkpoint(again, image.vectors, text.vectors, use_reentrant=False)  # pyright: ignore[reportReturnType]

    return scored
