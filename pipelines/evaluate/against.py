"""One model beside another on the same test images, and whether it should take its place."""

from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.evaluate.gate import Answers, Decision, GateSettings, decide
from pipelines.evaluate.subject import Subject
from pipelines.report.content import FigureGroup
from pipelines.taxa import species_texts
from xmodal.metrics.calibration import softmax
from xmodal.metrics.classification import hits
from xmodal.metrics.figure import figure
from xmodal.metrics.paired import paired

NO_SPECIES = "beside another model: both must have been trained on species, and test images show some of these"


def against(subject: Subject, other: Subject, name: str, gate: GateSettings) -> FigureGroup:
    """How far `subject` is ahead of `other`, the run `name`, and what the gate would decide; both on one split."""
    title = f"Beside {name}"
    trained = [one.model.state["taxa"].keys() for one in (subject, other)]
    asked = [n for n, species in enumerate(subject.species) if any(species in own for own in trained)]
    if not asked or not all(trained):
        return FigureGroup(title, [], missing=[NO_SPECIES])
    ours, theirs = (answers(one, asked) for one in (subject, other))
    ahead = paired(ours.right, theirs.right, ours.place)
    label = "Species right, ahead of the other model"
    row = figure(
        f"{subject.split}/against/ahead", ahead.difference, None, ahead.interval, ahead.n, "points", name, label
    )
    decision = decide(theirs, ours, old_places(subject, other), frozenset(other.model.state["taxa"]), gate)
    return FigureGroup(title, [row], f"{told(decision)} Intervals resample {subject.resampled}.")


def answers(subject: Subject, asked: list[int]) -> Answers:
    """What the model says of the images `asked`, choosing from the species that it was trained on."""
    taxa = subject.model.state["taxa"]
    names = sorted(taxa)
    vectors = subject.model.class_vectors([species_texts(taxa[one], subject.language) for one in names])
    shares = softmax((subject.gallery.images[asked] @ vectors.T).double().numpy(), subject.confidence_temperature)
    truth = [subject.species[n] or "" for n in asked]
    right = hits(truth, [names[n] for n in shares.argmax(1)])
    image, place, event = (
        [column[n] for n in asked]
        for column in ([one["sample_id"] for one in subject.records], subject.groups, subject.events)
    )
    return Answers(image, place, event, truth, right, shares.max(1))


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
