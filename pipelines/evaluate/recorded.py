"""Frames of which people recorded something, and what guessing would make of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pipelines.evaluate.machines import by_machine
from pipelines.evaluate.subject import event_of
from pipelines.predictions.labels import stated
from pipelines.predictions.ladder import BLANK, FINDINGS, Array, Ladder
from pipelines.predictions.thresholds import Decided, Truth
from xmodal.metrics.classification import RANKS

Facts = dict[str, Any]


def truth_of(facts: Facts) -> Truth | None:
    """What people recorded; None for frames of people and vehicles, without a label, or that a machine alone named."""
    kind = facts.get("type")
    if kind is None or "also" in kind or by_machine(facts, "type"):
        return None
    return stated(kind["value"], facts.get("taxon"))


def together(truths: Sequence[Truth]) -> Truth:
    """That of an event: what its frames with an animal agree on, blank where none shows one."""
    animals = [one for one in truths if one.kind != BLANK]
    named = {rank: {one.steps[rank] for one in animals if rank in one.steps} for rank in RANKS}
    steps = {rank: names.pop() for rank, names in named.items() if len(names) == 1}
    return Truth("animal" if animals else BLANK, steps)


class Asked:
    """Frames of which something is recorded, and their events."""

    def __init__(self, images: Tensor, records: Sequence[Facts], facts: Sequence[Facts], groups: Sequence[str]) -> None:
        known = [(n, truth) for n, one in enumerate(facts) if (truth := truth_of(one)) is not None]
        self.rows = [n for n, _ in known]
        self.truth = [truth for _, truth in known]
        self.images, self.groups = images[self.rows], [groups[n] for n in self.rows]
        names = [event_of(records[n]) or records[n]["sample_id"] for n in self.rows]
        number = {name: at for at, name in enumerate(dict.fromkeys(names))}
        self.event = np.array([number[name] for name in names], np.int64)
        first = np.unique(self.event, return_index=True)[1]
        self.event_groups = [self.groups[n] for n in first]
        members: list[list[Truth]] = [[] for _ in number]
        for at, truth in zip(self.event, self.truth, strict=True):
            members[at].append(truth)
        self.event_truth = [together(own) for own in members]

    def similarities(self, classes: Tensor) -> Array:
        return (self.images @ classes.T).double().numpy()


def guesses(ladder: Ladder, found: Decided) -> Array:
    """(N,) the share right of a guess among all that could be said at the rank of each answer."""
    count = [len(ladder.names[name]) if name in RANKS else 2 for name in FINDINGS]
    return 1 / np.array([*count, 1], np.float64).clip(1)[found.finding]
