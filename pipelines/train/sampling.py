"""Which rows an epoch draws: every image once, or rare classes more often.

A class of n of the N training rows gets a share of the epoch's N draws that is proportional to n ** power: 1 draws
every row once an epoch, 0.5 is square-root sampling (Mahajan et al., ECCV 2018), 0 draws all classes equally often. The
rows of a class are gone through in a shuffled order, round after round, so that no row is drawn again before all others
of its class. A row's visits are counted over the whole run: they take the place of the epoch wherever a caption or an
augmentation is drawn.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xmodal.transforms import draw


@dataclass(frozen=True)
class ClassSampling:
    """The draws of every epoch: a function of `label` (N,), the class of each row, `power` and `seed` alone."""

    label: np.ndarray
    power: float
    seed: int

    @cached_property
    def members(self) -> list[np.ndarray]:
        """The rows of each class, rising."""
        _, code = np.unique(self.label, return_inverse=True)
        return np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code))[:-1])

    @cached_property
    def quotas(self) -> np.ndarray:
        """(C,) draws of each class in an epoch, N in all; the largest remainders are rounded up."""
        sizes = np.array([len(rows) for rows in self.members], np.float64)
        shares = sizes**self.power / (sizes**self.power).sum() * sizes.sum()
        whole = np.floor(shares + 1e-9).astype(np.int64)
        left = int(sizes.sum()) - int(whole.sum())
        whole[np.argsort(whole - shares, kind="stable")[:left]] += 1
        return whole

    def epoch(self, epoch: int) -> np.ndarray:
        """(N, 2) int64: row and how often it was drawn before, rising."""
        classes = enumerate(zip(self.members, self.quotas.tolist(), strict=True))
        parts = [self._drawn(number, rows, epoch * quota, quota) for number, (rows, quota) in classes]
        drawn = np.concatenate(parts)
        return drawn[np.lexsort((drawn[:, 1], drawn[:, 0]))]

    def _drawn(self, number: int, rows: np.ndarray, first: int, count: int) -> np.ndarray:
        """Draws `first` to `first + count` of a class; every len(rows) draws go through it once, in an order of their
        own."""
        place = np.arange(first, first + count)
        visit, within = place // len(rows), place % len(rows)
        found = np.empty((count, 2), np.int64)
        for one in np.unique(visit):
            own = visit == one
            shuffled = draw(self.seed, "class", number, int(one)).permutation(rows)
            found[own] = np.stack([shuffled[within[own]], visit[own]], axis=1)
        return found
