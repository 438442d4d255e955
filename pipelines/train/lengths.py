"""Texts of like length in one batch, so that less of it is padding.

In every window of some batches a lane's rows are sorted by the length of their texts and cut into batches anew, which
then come in a drawn order, the same in every lane: short meets short in the whole global batch. Which rows a window
holds is the order's matter and stays; which rows meet in a batch is not what it was. A last batch that is padded keeps
its rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.train.order import LaneOrder, WorkItem
from xmodal.transforms import draw

Length = Callable[[int, int], int]
"""Position of a row and its visit -> tokens of its text."""


class AsDrawn:
    """A lane's rows as the order has them."""

    def __call__(self, lane: np.ndarray, order: LaneOrder, item: WorkItem, length: Length) -> np.ndarray:
        """(batches * B/L, 2) rows of `item` of a lane's whole epoch."""
        first = item.first_batch * order.lane_batch
        return lane[first : first + item.batches * order.lane_batch]


@dataclass(frozen=True)
class ByLength:
    """The same, sorted by length within each `window` of batches."""

    window: int

    def __call__(self, lane: np.ndarray, order: LaneOrder, item: WorkItem, length: Length) -> np.ndarray:
        """As `AsDrawn`. Whole windows are sorted, wherever the item begins and ends."""
        number, before = divmod(item.first_batch, self.window)
        past = -(-(item.first_batch + item.batches) // self.window)
        rows = np.concatenate([self._window(lane, order, item.epoch, one, length) for one in range(number, past)])
        return rows[before * order.lane_batch :][: item.batches * order.lane_batch]

    def _window(self, lane: np.ndarray, order: LaneOrder, epoch: int, number: int, length: Length) -> np.ndarray:
        size, first = order.lane_batch, number * self.window
        whole = max(0, min(self.window, len(order.rows) // order.global_batch - first))  # batches without padding
        rows = lane[first * size : (first + self.window) * size]
        sortable = rows[: whole * size]
        rank = np.argsort([length(position, visit) for position, visit in sortable.tolist()], kind="stable")
        turn = draw(order.seed, "lengths", epoch, number).permutation(whole)
        cut = sortable[rank].reshape(whole, size, 2)
        return np.concatenate([cut[turn].reshape(-1, 2), rows[whole * size :]])


def arrangement(window: int) -> AsDrawn | ByLength:
    """Of a window of one batch nothing changes."""
    return AsDrawn() if window == 1 else ByLength(window)
