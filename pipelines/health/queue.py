"""How many of a queue's entries show what the query shows: false negatives, if nothing is done about them.

A query of a species with share p meets, of K other entries, K p of its own; over all queries that is K times the sum of
squared shares (the chance that two draws agree, Simpson, Nature 163, 1949). Shares are those of the training draws:
frames by species (a subspecies is its species), else by what their texts name, weighted as train.class_power draws
them. "No animal" is a text as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.health.counting import counted, taken
from pipelines.health.section import HealthSection
from pipelines.report import formats

SIZES = (256, 1024, 4096, 16_384, 65_536)
MOST = 5
BLANK, UNNAMED = "no animal", "an animal without a name"


@dataclass(frozen=True, kw_only=True)
class Queue(HealthSection):
    """Expected false negatives."""

    anchor: ClassVar[str] = "queue"
    title: ClassVar[str] = "False negatives in a queue"
    lead: ClassVar[str] = (
        "Contrastive training pushes a frame away from all other texts in batch and queue. Where they are about the "
        "same species that is wrong; how often it would happen follows from the shares of the species alone."
    )

    shares: Mapping[str, float]
    """Of the training draws, 0..1, the largest first."""
    frames: int
    """Training frames."""
    size: int
    """K of the recipe's queue."""
    batch: int
    """Samples of its optimizer step."""
    policy: str | None
    """fn_policy of its ITC task; None without one."""
    class_power: float

    def __bool__(self) -> bool:
        return bool(self.shares)

    @property
    def agreement(self) -> float:
        """Sum of squared shares, 0..1."""
        return float(sum(share**2 for share in self.shares.values()))

    def expected(self, entries: int) -> float:
        """False negatives among so many other entries."""
        return entries * self.agreement

    @property
    def sizes(self) -> list[tuple[str, int, float]]:
        """What is compared with, its entries, false negatives expected among them."""
        own = [("the other samples of the recipe’s batch", self.batch - 1), ("the recipe’s queue", self.size)]
        others = [(f"a queue of {formats.count(size)}", size) for size in SIZES if size != self.size]
        return [(name, entries, self.expected(entries)) for name, entries in (*own, *others)]

    @property
    def main(self) -> Sequence[tuple[str, float, float]]:
        """The largest shares, and the part of the false negatives that is theirs."""
        largest = list(self.shares.items())[:MOST]
        return [(name, share, share**2 / self.agreement) for name, share in largest]


def queue_section(images: pa.Table, size: int, batch: int, policy: str | None, class_power: float) -> Queue:
    """Of IMAGES; nothing for sets that bring captions of their own, and where nothing trains."""
    trained = taken(images).filter((pc.field("split") == "train") & (pc.field("kind") != "captioned"))
    names = {"blank": BLANK, "human": "a person", "vehicle": "a vehicle"}
    frames: dict[str, int] = {}
    for (kind, label), count in counted(trained, "kind", "label").items():
        name = label or names.get(kind, UNNAMED)
        frames[name] = frames.get(name, 0) + count
    weights = {name: count**class_power for name, count in frames.items()}
    whole = float(np.sum(list(weights.values())))
    order = sorted(weights.items(), key=lambda one: (-one[1], one[0]))
    return Queue(
        shares={name: weight / whole for name, weight in order},
        frames=len(trained),
        size=size,
        batch=batch,
        policy=policy,
        class_power=class_power,
        advice=_advice(policy),
    )


def _advice(policy: str | None) -> list[str]:
    told = {
        None: "Nothing: the recipe has no contrastive task (itc, uto).",
        "none": "The recipe counts all of them as negatives: set fn_policy of the task to mask or soft.",
        "mask": "Nothing: the recipe takes them out of the comparison (fn_policy: mask).",
        "soft": "Nothing: the recipe makes them share the target (fn_policy: soft).",
        "unicon": "Nothing: the recipe makes them positives (fn_policy: unicon).",
        "mil": "Nothing: the recipe asks that one of them or the own be near (fn_policy: mil).",
    }
    return [told.get(policy, f"The recipe’s policy is {policy}.")]
