"""Residual attention refresh: stored keys move as the key encoder moves.

"Enhance consistency during momentum updates" (ReCap, Tao et al., Sensors 2024) in a second documented reading
("Reading B" of docs/method.md), after the compensation of semantic drift in class-incremental learning (Yu et al.,
CVPR 2020, eq. 9-10). Once in R steps, for the step's rows x_b with o_b = E^m(x_b) as the key encoder was when the
window began, and n_b as it is now,

    a_jb = softmax_b(<Q_j, o_b> / tau_r),      Q_j <- norm(Q_j + sum_b a_jb (n_b - o_b))

for the keys Q_j of both modalities that were written before the window began: younger ones are partly new. It needs no
labels and has no parameters; a key lacks at most the drift of the window in which it was written.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.batch import Batch
from xmodal.distributed import Layout
from xmodal.encodings import Towers
from xmodal.momentum import KeyEncoder, MomentumSettings
from xmodal.queue import FeatureQueue, Refresh
from xmodal.rows import NOWHERE

CHUNK = 8192
"""Stored keys that are refreshed at a time: what bounds memory."""


@torch.no_grad()
def refreshed(keys: Tensor, old: Tensor, new: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """(K, D) unit vectors moved by what their neighbours among (N, D) `old` have become in `new`, of the rows that are
    `valid` (N,)."""
    moved, nowhere = new - old, ~valid[None]
    near = ((part @ old.T / temperature).masked_fill(nowhere, NOWHERE).softmax(1) for part in keys.split(CHUNK))
    return normalize(keys + torch.cat([shares @ moved for shares in near]), dim=1)


class NoRefresh(nn.Module):
    """Stored keys stay as they were written."""

    def remember(self, batch: Batch, layout: Layout) -> None:
        pass

    def forward(self, queue: FeatureQueue, step: int) -> None:
        pass

    def metrics(self) -> dict[str, Tensor]:
        return {}


class Snapshot(KeyEncoder[Towers]):
    """A copy of the key encoder as it was at one moment: it follows nothing until it is taken again, by `reset`."""

    drift: Tensor

    def __init__(self, query: Towers):
        super().__init__(query, MomentumSettings())
        self.register_buffer("drift", torch.zeros(()))

    def follow(self, step: int) -> None:
        pass


class QueueRefresh(nn.Module):
    """The snapshot of the window's begin, and the window's last batches. Window w is the steps w R to w R + R - 1."""

    def __init__(self, settings: Refresh, key: KeyEncoder[Towers]):
        super().__init__()
        self.settings = settings
        self.snapshot = Snapshot(key.encoder)
        self.batches: list[tuple[Batch, Layout]] = []

    def remember(self, batch: Batch, layout: Layout) -> None:
        """Keeps the local rows of a forward, where their step is the last of a window."""
        if self._ends_window(batch.step):
            self.batches.append((batch, layout))

    def _ends_window(self, step: int) -> bool:
        return (step + 1) % self.settings.every == 0

    @torch.no_grad()
    def forward(self, queue: FeatureQueue, step: int) -> None:
        """After the key encoder followed at `step`: refreshes the queue and takes a new snapshot, at a window's end."""
        if self._ends_window(step):
            if self.batches:
                self._move(queue, torch.cat(list(self._gathered())), begin=step + 1 - self.settings.every)
            self.snapshot.reset()
            self.batches.clear()

    def _move(self, queue: FeatureQueue, rows: Tensor, begin: int) -> None:
        old_image, old_text, image, text = rows[:, :-1].chunk(4, dim=1)
        valid, stored = rows[:, -1] > 0, queue.keys
        due = queue.before(begin)[:, None] & valid.any()
        for keys, old, new in ((stored.image, old_image, image), (stored.text, old_text, text)):
            keys.copy_(torch.where(due, refreshed(keys, old, new, valid, self.settings.temperature), keys))
        apart = 1 - (old_image * image).sum(1)
        self.snapshot.drift.copy_(torch.where(valid, apart, 0).sum() / valid.sum().clamp(min=1))

    def _gathered(self) -> Iterator[Tensor]:
        """For each forward of the step the rows of the global batch, equal on all ranks: (N, 4 D + 1) image and text
        vectors by the snapshot, then by the key encoder now, and 1 where they are valid."""
        for batch, layout in self.batches:
            both = [self._vectors(towers, batch) for towers in (self.snapshot.encoder, self.snapshot.query)]
            yield layout.gather(torch.cat([*both, batch.valid[:, None].float()], dim=1))

    @staticmethod
    def _vectors(towers: Towers, batch: Batch) -> Tensor:
        """(B, 2 D) image and text vectors, without dropout."""
        training = towers.training
        towers.eval()
        image = towers.image_vectors(towers.image(batch.image))
        text = towers.text_vectors(towers.text(batch.text, batch.text_mask), batch.text_mask)
        towers.train(training)
        return torch.cat([image, text], dim=1)

    def metrics(self) -> dict[str, Tensor]:
        """Mean 1 - cos between what the key encoder made of the same images before and after the last window."""
        return {"refresh/drift": self.snapshot.drift}


def build(settings: Refresh | None, key: KeyEncoder[Towers]) -> QueueRefresh | NoRefresh:
    """What is done to the queue each step."""
    return NoRefresh() if settings is None else QueueRefresh(settings, key)
