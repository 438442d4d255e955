"""Which answers can be taken without a look: temperature and thresholds from validation images, and what they give on
the split that is measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.evaluate.machines import by_machine
from pipelines.evaluate.subject import Subject, event_of
from pipelines.predictions.ladder import BLANK, FINDINGS, Array, Ladder
from pipelines.predictions.thresholds import PEOPLE, Decided, Truth, decide, rights, thresholds
from pipelines.predictions.trust import PRECISIONS, WANTED, Trust
from pipelines.prepare.attributes import rank_values
from pipelines.taxa import species_key
from xmodal.metrics import tables
from xmodal.metrics.calibration import best_temperature
from xmodal.metrics.classification import RANKS
from xmodal.metrics.figure import Figure
from xmodal.metrics.pooling import present

Facts = dict[str, Any]


def truth_of(facts: Facts) -> Truth | None:
    """What people recorded; None for frames of people and vehicles, without a label, or that a machine alone named."""
    kind = facts.get("type", {})
    if kind.get("value") not in ("animal", "blank") or "also" in kind or by_machine(facts, "type"):
        return None
    taxon = facts.get("taxon")
    key = species_key(taxon)
    return Truth(kind["value"], (rank_values(taxon) if taxon else {}) | ({"species": key} if key else {}))


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


def learnt(subject: Subject) -> tuple[Trust, list[Figure]] | None:
    """What `predict` needs, and how it does on the split; None where no validation image shows a trained species."""
    ladder = Ladder.of(subject.train_taxa, BLANK in subject.train_kinds[1])
    classes = ladder.class_vectors(subject.model, subject.language)
    found = subject.validation
    places = [one["place"] or one["sample_id"] for one in found.records]
    asked = Asked(torch.cat(found.images), found.records, subject.validation_facts, places) if found.images else None
    if asked is None or not (numbers := _classes(ladder, asked.truth)):
        return None
    rows, similarities = list(numbers), asked.similarities(classes)
    temperature = best_temperature(similarities[rows], np.array(list(numbers.values())))
    frames = ladder.probabilities(similarities, temperature)
    state = subject.model.state
    trust = Trust(
        weights=subject.model.weights,
        **{name: state[name] for name in ("run", "step", "dataset", "dataset_version", "dataset_digest")},
        species=ladder.species,
        blank=ladder.blank,
        temperature=temperature,
        images=len(asked.rows),
        events=len(asked.event_truth),
        places=len(set(asked.groups)),
        of_frames={str(p): thresholds(ladder, frames, asked.truth, p) for p in PRECISIONS},
        of_events={str(p): thresholds(ladder, present(frames, asked.event), asked.event_truth, p) for p in PRECISIONS},
    )
    return trust, _measured(subject, ladder, classes, trust)


def _classes(ladder: Ladder, truth: Sequence[Truth]) -> dict[int, int]:
    """Row to class, of those that show one."""
    every = [*ladder.species, BLANK] if ladder.blank else ladder.species
    position = {name: n for n, name in enumerate(every)}
    said = [BLANK if one.kind == BLANK else one.steps.get("species", "") for one in truth]
    return {n: position[name] for n, name in enumerate(said) if name in position}


def _measured(subject: Subject, ladder: Ladder, classes: Tensor, trust: Trust) -> list[Figure]:
    asked = Asked(subject.gallery.images, subject.records, subject.facts, subject.groups)
    if not asked.rows:
        return []
    frames = ladder.probabilities(asked.similarities(classes), trust.temperature)
    pooled = present(frames, asked.event)
    return [
        *_rows(subject.split, "frames", ladder, frames, asked.truth, trust.of_frames, asked.groups),
        *_rows(subject.split, "events", ladder, pooled, asked.event_truth, trust.of_events, asked.event_groups),
    ]


def _rows(split: str, unit: str, ladder: Ladder, probabilities: Array, truth: Sequence[Truth], needed: Any,
          groups: Sequence[str]) -> list[Figure]:  # fmt: skip
    """Shares answered, answered with a species, and right among those answered, at the wanted precision."""
    found = decide(ladder, probabilities, needed[str(WANTED)])
    right = rights(ladder, found, truth)
    given = (found.finding != PEOPLE).astype(np.float64)
    species = (found.finding == FINDINGS.index("species")).astype(np.float64)
    prefix, aim = f"{split}/accepted/{unit}", f"at thresholds for {100 * WANTED:g} % precision from validation images"
    rows = [
        tables.share(f"{prefix}/answered", f"{unit.capitalize()} answered without a look", given, 0.0, groups,
                     note=f"{aim}, at any rank; the others are left to people. Chance: who guesses is never so sure"),
        tables.share(f"{prefix}/species", f"{unit.capitalize()} answered with a species", species, 0.0, groups,
                     note=aim),
    ]  # fmt: skip
    if not np.isnan(right).all():
        guess = np.where(np.isnan(right), np.nan, _guesses(ladder, found))
        label = f"Right, of the {unit} answered"
        rows.append(tables.share(f"{prefix}/right", label, right, guess, groups, note=f"{aim}; at the rank answered"))
    return rows


def _guesses(ladder: Ladder, found: Decided) -> Array:
    """(N,) the share right of a guess among all that could be said at the rank of each answer."""
    count = [len(ladder.names[name]) if name in RANKS else 2 for name in FINDINGS]
    return 1 / np.array([*count, 1], np.float64).clip(1)[found.finding]
