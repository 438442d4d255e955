"""One answer an event: what the frames of a burst say together."""

from dataclasses import dataclass

import numpy as np

from pipelines.evaluate.species import Named, frame_f1
from pipelines.evaluate.subject import Subject
from pipelines.report.content import Events, FigureGroup
from xmodal.metrics import baselines, survey_tables
from xmodal.metrics.calibration import softmax
from xmodal.metrics.figure import Figure
from xmodal.metrics.pooling import POOLINGS

WORDS = {"max": "surest frame", "mean": "mean of the frames"}


@dataclass(frozen=True)
class EventAnswers:
    """The events of a split that are asked for: those whose frames show one species, which the training side
    holds."""

    truth: list[str]
    predicted: dict[str, list[str]]
    """By pooling."""
    place_only: list[str]
    groups: list[str]
    frames: int
    """Frames of these events, all of which have a say."""
    left_out: dict[str, int]
    """Other events, by what is the matter with them."""


def event_answers(subject: Subject, found: Named) -> EventAnswers | None:
    """None where no frame of the split is in an event, or no event is asked for.

    An event's answer draws on all its frames in the split, whatever each shows; a frame without an event is one.
    """
    records = subject.records
    if not any(record["event_id"] for record in records):
        return None
    names = subject.events
    position = {name: number for number, name in enumerate(dict.fromkeys(names))}
    events = np.array([position[name] for name in names])
    shown: list[set[str]] = [set() for _ in position]
    for event, species in zip(events.tolist(), subject.shown, strict=True):
        shown[event] |= species
    asked = [event for event, species in enumerate(shown) if len(species) == 1 and species <= found.taxa.keys()]
    if not asked:
        return None
    first = np.unique(events, return_index=True)[1][asked]
    probabilities = softmax(found.similarities, subject.confidence_temperature)
    answers = {name: pool(probabilities, events)[asked].argmax(1) for name, pool in POOLINGS.items()}
    return EventAnswers(
        truth=[next(iter(shown[event])) for event in asked],
        predicted={name: [found.candidates[n] for n in best] for name, best in answers.items()},
        place_only=baselines.place_only(*subject.train_places, [records[n]["place"] for n in first]),
        groups=[subject.groups[n] for n in first],
        frames=int(np.isin(events, asked).sum()),
        left_out=_left_out(shown, found),
    )


def _left_out(shown: list[set[str]], found: Named) -> dict[str, int]:
    """Events that are not asked for; `shown` are the species of each."""
    return {
        "of several species": sum(len(species) > 1 for species in shown),
        "of a species that was not trained on": sum(len(own) == 1 and not own <= found.taxa.keys() for own in shown),
        "without a species": sum(not species for species in shown),
    }


def event_figures(subject: Subject, found: EventAnswers, candidates: int) -> list[Figure]:
    """Macro and micro F1 by both poolings."""
    rows = []
    for name, predicted in found.predicted.items():
        prefix, how = f"{subject.split}/events/{name}", WORDS[name]
        asked = (found.truth, predicted, found.place_only, candidates, found.groups)
        rows.append(survey_tables.f1(f"{prefix}/macro_f1", f"Macro F1 of events, {how}", *asked))
        rows.append(survey_tables.answers(f"{prefix}/micro_f1", f"Micro F1 of events, {how}", *asked,
                                          note="one answer an event: the share of events that are right"))  # fmt: skip
    return rows


def events(subject: Subject, found: Named) -> Events:
    """The section, or a sentence on why there is none."""
    answers = event_answers(subject, found)
    if answers is None:
        return Events(note="No test frame belongs to an event of a species that was trained on: nothing to pool.")
    rows = [*event_figures(subject, answers, len(found.candidates)), frame_f1(subject, found)]
    told = f"{len(answers.truth)} events of {answers.frames} frames; a frame without an event counts as one."
    left_out = ", ".join(f"{n} {words}" for words, n in answers.left_out.items() if n)
    told += f" Events left out: {left_out}." if left_out else ""
    return Events([FigureGroup("Events", rows, f"{told} Intervals resample {subject.resampled}.")])
