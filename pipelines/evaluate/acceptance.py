"""Which answers can be taken without a look: temperature and thresholds from validation images, and what they give on
the split that is measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.evaluate.budget import Unseen
from pipelines.evaluate.recorded import Asked, guesses
from pipelines.evaluate.subject import Subject
from pipelines.predictions.ladder import BLANK, FINDINGS, Array, Ladder
from pipelines.predictions.thresholds import PEOPLE, Truth, decide, rights, thresholds
from pipelines.predictions.trust import PRECISIONS, WANTED, Trust
from xmodal.metrics import tables
from xmodal.metrics.calibration import best_temperature
from xmodal.metrics.figure import Figure
from xmodal.metrics.pooling import present


@dataclass(frozen=True)
class Learnt:
    """What `predict` needs, how the answers do on the split, and what is left to people at unseen places."""

    trust: Trust
    accepted: list[Figure]
    review: list[Figure]


def learnt(subject: Subject) -> Learnt | None:
    """None where no validation image shows a trained species."""
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
    of_frames = {str(p): thresholds(ladder, frames, asked.truth, p) for p in PRECISIONS}
    unseen = Unseen.of(subject, ladder, classes, temperature)
    tested = unseen.tested(of_frames) if unseen else {}
    trust = Trust(
        weights=subject.model.weights,
        **{name: subject.model.state[name] for name in ("run", "step", "dataset", "dataset_version", "dataset_digest")},
        species=ladder.species,
        blank=ladder.blank,
        temperature=temperature,
        images=len(asked.rows),
        events=len(asked.event_truth),
        places=len(set(asked.groups)),
        of_frames=of_frames,
        of_events={str(p): thresholds(ladder, present(frames, asked.event), asked.event_truth, p) for p in PRECISIONS},
        tested=tested,
        trained=dict(sorted(Counter(subject.train_places[1]).items())),
        seen=tuple(sorted(subject.seen_places)),
    )
    wanted = str(WANTED)
    review = unseen.figures(subject.split, tested[wanted], of_frames[wanted]) if unseen else []
    return Learnt(trust, _measured(subject, ladder, classes, trust), review)


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
        guess = np.where(np.isnan(right), np.nan, guesses(ladder, found))
        label = f"Right, of the {unit} answered"
        rows.append(tables.share(f"{prefix}/right", label, right, guess, groups, note=f"{aim}; at the rank answered"))
    return rows
