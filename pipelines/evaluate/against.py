"""One model beside another on the same test images, and whether it should take its place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.evaluate.gate import Answers, Decision, GateSettings, decide
from pipelines.evaluate.subject import Subject
from pipelines.report.content import FigureGroup
from pipelines.taxa import asked_in, species_texts
from xmodal.inference import Inference
from xmodal.metrics.calibration import softmax
from xmodal.metrics.classification import hits
from xmodal.metrics.figure import figure
from xmodal.metrics.paired import paired

NO_SPECIES = "beside another model: both must have been trained on species, and test images show some of these"


@dataclass(frozen=True)
class Beside:
    """Two models on the same images."""

    group: FigureGroup
    """For the report."""
    decision: Decision | None = None
    """None where no species can be asked for."""
    answers: tuple[Answers, Answers] | None = None
    """The model's, and the other's."""


def against(subject: Subject, other: Subject, name: str, gate: GateSettings) -> Beside:
    """How far `subject` is ahead of `other`, called `name`, and what the gate would decide; both on one split."""
    title = f"Beside {name}"
    trained = [one.model.state["taxa"].keys() for one in (subject, other)]
    asked = [n for n, species in enumerate(subject.species) if any(species in own for own in trained)]
    if not asked or not all(trained):
        return Beside(FigureGroup(title, [], missing=[NO_SPECIES]))
    ours, theirs = (answers(one, asked) for one in (subject, other))
    ahead = paired(ours.right, theirs.right, ours.place)
    label = "Species right, ahead of the other model"
    row = figure(
        f"{subject.split}/against/ahead", ahead.difference, None, ahead.interval, ahead.n, "points", name, label
    )
    decision = decide(theirs, ours, old_places(subject, other), frozenset(other.model.state["taxa"]), gate)
    group = FigureGroup(title, [row], f"{told(decision)} Intervals resample {subject.resampled}.")
    return Beside(group, decision, (ours, theirs))


def answers(subject: Subject, asked: list[int]) -> Answers:
    """What the model says of the images `asked`."""
    truth = [subject.species[n] or "" for n in asked]
    right, confidence = named(subject.model, subject.gallery.images[asked], truth)
    image, place, event = (
        [column[n] for n in asked]
        for column in ([one["sample_id"] for one in subject.records], subject.groups, subject.events)
    )
    return Answers(image, place, event, truth, right, confidence)


def named(model: Inference, images: Tensor, truth: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) whether the model names each of (n, D) image vectors rightly, choosing from the species that it was trained
    on, and (n,) how sure it is of what it says."""
    taxa = model.state["taxa"]
    names = sorted(taxa)
    vectors = model.class_vectors([species_texts(taxa[one], asked_in(model.recipe)) for one in names])
    shares = softmax((images @ vectors.T).double().numpy(), float(model.network.temperature.value))
    return hits(truth, [names[n] for n in shares.argmax(1)]), shares.max(1)


def old_places(subject: Subject, other: Subject) -> frozenset[str]:
    """What of the test images' places was tested when `other` was trained: those of its own dataset version; all, where
    that is retired or of another dataset."""
    state = other.model.state
    if state["dataset"] != subject.dataset.name:
        return frozenset(subject.groups)
    try:
        earlier = Dataset.open(subject.dataset.store, state["dataset"], state["dataset_version"])
    except NotFound:
        return frozenset(subject.groups)
    tested = set(earlier.records(["sample_id"], split=subject.split)["sample_id"].to_pylist())
    return frozenset(
        place for place, record in zip(subject.groups, subject.records, strict=True) if record["sample_id"] in tested
    )


def told(decision: Decision) -> str:
    """What was decided, and each check, in words."""
    head = "By the gate it would take the other's place" if decision.promote else "By the gate the other model stays"
    lines = (f"{check.name} {'holds' if check.holds else 'does NOT hold'} ({check.found})" for check in decision.checks)
    return f"{head}: {'; '.join(lines)}."
