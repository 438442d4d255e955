"""The split that a set was published with."""

from typing import Literal

import numpy as np
from pydantic import Field

from pipelines.prepare.assigned import TRAIN, VAL
from pipelines.prepare.digests import share
from pipelines.prepare.proposal import Pins, Proposal
from pipelines.prepare.units import Rows
from xmodal.settings import Settings


class PublishedSplit(Settings):
    """The split that the set was published with. Where it has the same bytes or one event in two splits, those in test
    stay, then those in val; whether its places are disjoint is the publisher's matter."""

    kind: Literal["published"]
    val: float = Field(default=0, ge=0, lt=1)
    """Share of the published training rows that validate, for sets without a validation split: by a hash of the event,
    of the bytes where there is none. Places are not looked at."""
    seed: int = 0
    """Seed of the hash."""

    def surveys(self) -> set[str]:
        """The surveys that the settings name."""
        return set()

    def inherited(self, old: Settings, pins: Pins) -> Pins | None:
        """Nothing is pinned."""
        return {} if old == self else None

    def propose(self, rows: Rows, pinned: Pins | None) -> Proposal:
        """Each row where it was published, but for those cut for validation."""
        split = rows.published.copy()
        train = np.flatnonzero(split == TRAIN) if self.val else np.empty(0, np.int64)
        split[train[self._drawn(rows, train) < self.val]] = VAL
        return Proposal(split, "no_published_split", priority=(2, 1, 0, 1, 0))

    def _drawn(self, rows: Rows, among: np.ndarray) -> np.ndarray:
        """(among,) shares that an event, or equal bytes without one, have in common. Nothing that is added changes
        them."""
        events, data = rows.events.to_pylist(), rows.table["sha256"].take(among).to_pylist()
        codes = rows.event[among].tolist()
        names = [
            ("event", events[code]) if code >= 0 else ("file", sha.hex()) for code, sha in zip(codes, data, strict=True)
        ]
        return np.array([share(self.seed, *name) for name in names], np.float64)
