"""By day and by night."""

from typing import Any

import numpy as np

from pipelines.evaluate.species import Named
from pipelines.evaluate.subject import Subject
from pipelines.report.content import FigureGroup
from xmodal.metrics import survey_tables
from xmodal.metrics.classification import hits

Facts = dict[str, Any]


def day_or_night(facts: Facts) -> str | None:
    """day | night, by a clock that can be believed; without its word infrared frames are night. None for colour frames
    without it: a white flash lights the night in colour."""
    if "daylight" in facts:
        return facts["daylight"]["value"]
    return "night" if facts["infrared"]["value"] else None


def colour(facts: Facts) -> str:
    """infrared | colour, measured from the pixels."""
    return "infrared" if facts["infrared"]["value"] else "colour"


def light(subject: Subject, found: Named) -> FigureGroup:
    """Species right by day, by night, in colour and in infrared. Needs images that are asked for."""
    facts = [subject.facts[n] for n in found.images]
    clock = np.array([day_or_night(one) or "" for one in facts])
    pixels = np.array([colour(one) for one in facts])
    right, rows = hits(found.truth, found.predicted), []
    kinds = (("day", "By day", clock), ("night", "By night", clock), ("colour", "In colour", pixels),
             ("infrared", "In infrared", pixels))  # fmt: skip
    for kind, words, of in kinds:
        kept = np.flatnonzero(of == kind)
        if len(kept):
            truth, predicted, known, groups = (
                [own[n] for n in kept] for own in (found.truth, found.predicted, found.place_only, found.groups)
            )
            name, label = f"{subject.split}/light/{kind}", f"{words}: species right, of all images"
            among = f"{len(set(truth))} species; {len(set(groups))} {subject.resampled} resampled"
            every = len(found.candidates)
            rows.append(survey_tables.answers(name, label, truth, predicted, known, every, groups, note=among))
    day, night = (np.flatnonzero(clock == kind) for kind in ("day", "night"))
    if len(day) and len(night):
        first, second = ((right[own], [found.groups[n] for n in own]) for own in (day, night))
        note = "day and night differ in their species too"
        rows.append(
            survey_tables.apart(f"{subject.split}/light/day_minus_night", "Day minus night", first, second, note)
        )
    return FigureGroup("Day and night", rows, _told(clock))


def _told(clock: np.ndarray) -> str:
    open_rows = int((clock == "").sum())
    told = (
        "Day (8 to 17 h) and night (21 to 4 h) by clocks that can be believed, else night where the frame is infrared."
    )
    return f"{told} {open_rows} of {len(clock)} images are neither." if open_rows else told
