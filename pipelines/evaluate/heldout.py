"""Species that no training image shows: zero-shot, by their names alone."""

from dataclasses import dataclass

import numpy as np
import torch

from pipelines.evaluate.species import Named, lineages
from pipelines.evaluate.subject import Subject
from pipelines.report.content import FigureGroup, NewSpeciesRow
from pipelines.taxa import species_taxa, species_texts
from xmodal.metrics import baselines, tables
from xmodal.metrics.classification import Lineages, hits, rank_chance, rank_hits
from xmodal.metrics.figure import Figure
from xmodal.metrics.intervals import mean_interval

NONE = "Every species of the test images has training images, so nothing can be said here about new ones."
TOLD = (
    "No training image or text shows these species; they are named by text alone. A pretrained encoder may have met "
    "them all the same."
)
KIN = ("genus", "family")


@dataclass(frozen=True)
class Known:
    """What images of new species are called where only trained species can be named."""

    model: list[str]
    place_only: list[str]


def held_out(subject: Subject, found: Named) -> tuple[FigureGroup, list[NewSpeciesRow]]:
    """Figures apart from those of trained species, and a row a species; a sentence where there is none."""
    images = [n for n, name in enumerate(subject.species) if name is not None and name not in subject.train_shown]
    if not images:
        return FigureGroup("New species", [], NONE), []
    taxa = species_taxa(subject.facts[n] for n in images)
    new, truth = sorted(taxa), [name for name in subject.species if name in taxa]
    vectors = subject.model.class_vectors([species_texts(taxa[name], subject.language) for name in new])
    fits = (subject.gallery.images[images] @ torch.cat([found.vectors, vectors]).T).double().numpy()
    every = [*found.candidates, *new]
    answers = [every[n] for n in fits.argmax(1)]
    among = [new[n] for n in fits[:, len(found.candidates) :].argmax(1)]
    groups = [subject.groups[n] for n in images]
    prefix = f"{subject.split}/heldout"
    rows = _figures(prefix, truth, answers, len(every), groups)
    if len(new) > 1:
        note = f"told that it is one of these {len(new)}"
        label = "New species right, chosen among the new ones alone"
        right, none = hits(truth, among), np.zeros(len(truth))
        rows.append(tables.share(f"{prefix}/among", label, right, 1 / len(new), groups, None, note, none))
    every_answer, places = found.answers, [subject.records[n]["place"] for n in images]
    known = Known([every_answer[n] for n in images], baselines.place_only(*subject.train_places, places))
    rows += _kin(prefix, truth, known, found, lineages(taxa), groups)
    return FigureGroup("New species", rows, TOLD), _rows(truth, answers, groups)


def _figures(prefix: str, truth: list[str], answers: list[str], candidates: int, groups: list[str]) -> list[Figure]:
    """Micro and macro accuracy among all species, trained and new; the place-only baseline knows none of the new."""
    right, guess, known = hits(truth, answers), 1 / candidates, np.zeros(len(truth))
    note = f"{candidates} species to choose from, trained ones included"
    label = "New species right"
    return [
        tables.share(f"{prefix}/micro", f"{label}, of all images", right, guess, groups, None, note, known),
        tables.share(f"{prefix}/macro", f"{label}, species weighted equally", right, guess, groups, truth,
                     f"mean over {len(set(truth))} species", known),
    ]  # fmt: skip


def _kin(prefix: str, truth: list[str], known: Known, found: Named, own: Lineages, groups: list[str]) -> list[Figure]:
    """Where the model may only name trained species: whether it names a relative."""
    rows, every = [], {**found.lineages, **own}
    for rank in KIN:
        right, lookup = (rank_hits(truth, answers, every, rank) for answers in (known.model, known.place_only))
        guess = rank_chance(truth, found.candidates, every, rank)
        there = {found.lineages[name].get(rank) for name in found.candidates}
        asked = np.array([own[name].get(rank) in there for name in truth])
        note = f"trained species alone to choose from; images whose {rank} has a trained species"
        kept, chance, baseline = (np.where(asked, values, np.nan) for values in (right, guess, lookup))
        label = f"New species given a trained one of its {rank}"
        rows.append(tables.share(f"{prefix}/{rank}", label, kept, chance, groups, None, note, baseline))
    return [row for row in rows if row.n]


def _rows(truth: list[str], answers: list[str], groups: list[str]) -> list[NewSpeciesRow]:
    """The most frequent species first."""
    right, rows = hits(truth, answers), []
    for name in sorted(set(truth), key=lambda name: (-truth.count(name), name)):
        own = [n for n, label in enumerate(truth) if label == name]
        bounds = mean_interval(right[own], [groups[n] for n in own])
        usual = baselines.most_frequent([answers[n] for n in own])
        rows.append(NewSpeciesRow(name, len(own), float(right[own].mean()), bounds, usual))
    return rows
