"""The survey protocol: every section about species, where the model was trained on some. Definitions for readers stand
in `docs/evaluation.md`."""

from typing import Any

from pipelines.evaluate.acceptance import learnt
from pipelines.evaluate.blanks import blank_misses, blanks
from pipelines.evaluate.confidence import confidence
from pipelines.evaluate.events import events
from pipelines.evaluate.heldout import KIN, held_out
from pipelines.evaluate.incumbents import incumbents
from pipelines.evaluate.light import light
from pipelines.evaluate.ranks import unranked
from pipelines.evaluate.review import review
from pipelines.evaluate.settings import SECONDS
from pipelines.evaluate.species import confused, named, species
from pipelines.evaluate.subject import Subject
from pipelines.evaluate.transfer import places
from pipelines.report.content import Conditions, FigureGroup, Section

ABSENT = "no figure of species, events, places, light, blank frames, new species, confidence or earlier machine labels"

WHY = {
    "places/worst_tenth": "worst tenth of the places: fewer than two places have 5 images that are asked",
    "calibration/ece_scaled": "calibration error after temperature scaling: no validation image shows a species that "
    "was trained on",
}
"""Why a figure of these sections is not there."""


def protocol(subject: Subject, seconds: float = SECONDS) -> dict[str, Any]:
    """Sections by their name in ReportContent; none where they name fewer than two species (`lacking`). `seconds`: what
    a look at a frame takes."""
    found = named(subject)
    if found is None:
        return {}
    asked = blanks(subject, found)
    new, rows = held_out(subject, found)
    groups = [blank_misses(subject, found, asked), new]
    sections: dict[str, Section] = {"incumbents": incumbents(subject, found, asked)}
    if found.images:
        believed = learnt(subject)
        groups = [light(subject, found), *groups]
        sections |= {
            "species": species(subject, found),
            "places": places(subject, found),
            "confusion": confused(found),
            "events": events(subject, found),
            "confidence": confidence(subject, found, believed),
            "review": review(subject.dataset, believed, seconds),
        }
    return sections | {"conditions": Conditions(groups, rows)}


def lacking(subject: Subject, sections: dict[str, Any]) -> list[FigureGroup]:
    """Why there is no section about species, or which of its figures are not there, a line each. Sets of captions or
    classes have none and are told nothing."""
    if not subject.gallery.claiming:
        return []
    lines = _gaps(subject.split, sections) if "species" in sections else [_none(subject)]
    return [FigureGroup("Species", [], missing=lines)] if lines else []


def _gaps(split: str, sections: dict[str, Any]) -> list[str]:
    of_species, *others = (sections[name].figures for name in ("species", "places", "confidence", "conditions"))
    there = {row.name for rows in others for row in rows}
    lines = [why for name, why in WHY.items() if f"{split}/{name}" not in there]
    if f"{split}/heldout/micro" in there:
        lines += [f"new species given a trained one of their {rank}: no trained species shares it with one of them"
                  for rank in KIN if f"{split}/heldout/{rank}" not in there]  # fmt: skip
    return [*unranked(split, of_species), *lines]


def _none(subject: Subject) -> str:
    named = len(subject.train_taxa)
    if named < 2:
        return f"{ABSENT}: the training rows name {('no', 'one')[named]} species, and a choice needs two"
    line = "no figure of species, events, places, light or confidence: "
    return f"{line}no {subject.split} image shows one of the {named} species of the training rows"
