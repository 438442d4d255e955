"""Encodings beside a sharded queue: queries go to the stored keys, and a few numbers a row come back.

Rank r of S holds the keys of the slots r, r + S, ... (`xmodal.queue.ShardedQueue`). The query vectors of the global
batch are gathered with gradient; each rank compares all N of them with its own K / S keys, and tells the rank of each
row what its loss needs of them (`xmodal.rows`): logsumexps, sums and counts. That rank merges these with what it finds
among the keys of the batch, which it has anyway. Both exchanges carry gradients, of queries and of the temperature, so
averaged over ranks they are those of a queue that every rank holds whole; only the order of sums differs.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xmodal.distributed import Layout
from xmodal.encodings import Direction, Encodings
from xmodal.queue import Facts
from xmodal.relations import image_to_text, text_to_image
from xmodal.rows import RowLoss
from xmodal.temperature import Temperature


class ShardedEncodings(Encodings):
    """As `Encodings`, with the stored keys of all ranks in reach of `Direction.rows`, and of nothing else."""

    @cached_property
    def candidates(self) -> Facts:
        """The N gathered keys: those that every rank holds."""
        return self.gathered

    @cached_property
    def i2t(self) -> Direction:
        relations = image_to_text(self.keys, self.candidates, self.layout.own)
        near = self.image, self.keys.image, [self.gathered.text], relations
        return Beside(lambda: self.stored_texts, self.queue.valid, self.layout, *near, *self._compared)

    @cached_property
    def t2i(self) -> Direction:
        relations = text_to_image(self.keys, self.candidates, self.layout.own)
        near = self.text, self.keys.text, [self.gathered.image], relations
        return Beside(lambda: self.stored_images, self.queue.valid, self.layout, *near, *self._compared)

    @cached_property
    def stored_texts(self) -> Direction:
        """The global batch's images ask for the texts stored here."""
        relations = image_to_text(self.gathered, self.queue.keys, self._nowhere)
        stored = [self.queue.keys.text]
        return Direction(self.gathered_image, self.gathered.image, stored, relations, *self._compared)

    @cached_property
    def stored_images(self) -> Direction:
        """The global batch's texts ask for the images stored here."""
        relations = text_to_image(self.gathered, self.queue.keys, self._nowhere)
        stored = [self.queue.keys.image]
        return Direction(self.gathered_text, self.gathered.text, stored, relations, *self._compared)

    @property
    def _nowhere(self) -> Tensor:
        """(N,) the column of each query's own key, which is never among stored ones."""
        return torch.full_like(self.layout.order, -1)

    @property
    def _compared(self) -> tuple[Temperature, Callable[[Tensor, Tensor], Tensor]]:
        return self.temperature, self.queue.precision.product


class Beside(Direction):
    """B local queries against the batch's N keys, which are at hand, and in `rows` against the stored keys of all ranks
    too."""

    def __init__(self, stored: Callable[[], Direction], valid: Tensor, layout: Layout, *near: Any):
        """`stored` gives the global batch's queries against the keys stored here, of which `valid` count: when it is
        first asked, for it takes a collective. `near` makes the `Direction` of the batch."""
        super().__init__(*near)
        self.stored, self.stored_valid, self.layout = stored, valid, layout

    def rows(self, loss: RowLoss, valid: Tensor) -> Tensor:
        """As `Direction.rows`; stored keys count beside those of the batch that are `valid`."""
        far = self.layout.answers(loss.partials(self.stored(), self.stored_valid))
        return loss.merged(torch.cat([loss.partials(self, valid)[:, None], far], dim=1))
