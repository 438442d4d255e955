"""What a split policy says of the rows, before the links that no split may cross are looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipelines.prepare.assigned import NONE, SPLITS, Reason

Pins = Mapping[str, str]
"""Name of a unit, of a unit's day or of an event to the split it has whatever the hash says."""
EQUAL = (0,) * len(SPLITS)
"""Of rows that compete for a link the first by key stays, whichever its split."""


@dataclass(frozen=True)
class Proposal:
    """Arrays have one value a row of `units.Rows`."""

    split: np.ndarray
    """Codes of SPLITS; NONE with `reason`."""
    reason: Reason = "no_published_split"
    pins: dict[str, str] = field(default_factory=dict)
    """What later versions have to be told."""
    cell: np.ndarray | None = None
    """Code of the day of one place that a row may not leave; NONE binds nothing."""
    priority: tuple[int, ...] = EQUAL
    """Rank of each split where rows compete for a link; the lowest stays."""


def codes_of(names: list[str], pins: Pins, default: np.ndarray) -> np.ndarray:
    """`default` with the pinned ones of `names` as pinned."""
    found = np.array([SPLITS.index(pins[name]) if name in pins else NONE for name in names], np.int8)
    return np.where(found == NONE, default, found).astype(np.int8)
