"""The survey protocol: every section about species, where the model was trained on some. Definitions for readers stand
in `docs/evaluation.md`."""

from typing import Any

from pipelines.evaluate.blanks import blank_misses, blanks
from pipelines.evaluate.confidence import confidence
from pipelines.evaluate.events import events
from pipelines.evaluate.heldout import held_out
from pipelines.evaluate.incumbents import incumbents
from pipelines.evaluate.light import light
from pipelines.evaluate.species import confused, named, species
from pipelines.evaluate.subject import Subject
from pipelines.evaluate.transfer import places
from pipelines.report.content import Conditions, FigureGroup, Section

ABSENT = "no figure of species, events, places, light, blank frames, new species, confidence or earlier machine labels"


def protocol(subject: Subject) -> dict[str, Any]:
    """Sections by their name in ReportContent; none where they name fewer than two species (`lacking`)."""
    found = named(subject)
    if found is None:
        return {}
    asked = blanks(subject, found)
    new, rows = held_out(subject, found)
    groups = [blank_misses(subject, found, asked), new]
    sections: dict[str, Section] = {"incumbents": incumbents(subject, found, asked)}
    if found.images:
        groups = [light(subject, found), *groups]
        sections |= {
            "species": species(subject, found),
            "places": places(subject, found),
            "confusion": confused(found),
            "events": events(subject, found),
            "confidence": confidence(subject, found),
        }
    return sections | {"conditions": Conditions(groups, rows)}


def lacking(subject: Subject, sections: dict[str, Any]) -> list[FigureGroup]:
    """One line on why there is no section about species. Captioned sets have none and are told nothing."""
    if "species" in sections or subject.gallery.captioned:
        return []
    named = len(subject.train_taxa)
    if named < 2:
        line = f"{ABSENT}: the training rows name {('no', 'one')[named]} species, and a choice needs two"
    else:
        line = "no figure of species, events, places, light or confidence: "
        line += f"no {subject.split} image shows one of the {named} species of the training rows"
    return [FigureGroup("Species", [], missing=[line])]
