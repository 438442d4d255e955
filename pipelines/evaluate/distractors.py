"""Zero-shot among a whole list of species (`evaluation.gallery`): every test image is scored against the texts of all
of them in one matrix product, the model's own species among them.

Labels meet the list by scientific name alone. A species on both keeps the texts that it was trained with and takes the
list's lineage, so that all steps are counted on one taxonomy; one that the list lacks stands beside it as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipelines.evaluate.ranks import by_rank, unranked
from pipelines.evaluate.settings import EvaluationSettings
from pipelines.evaluate.species import Named, lineages, named
from pipelines.evaluate.species_list import SpeciesList, read_species
from pipelines.evaluate.subject import Subject
from pipelines.report.content import FigureGroup
from pipelines.taxa import species_texts
from xmodal.metrics import tables
from xmodal.metrics.classification import Lineages
from xmodal.metrics.figure import Figure, figure

FIRST = 5
CHUNK = 16384
"""Images of one matrix product, at most: half a gigabyte of scores against 8,142 species."""
TITLE = "List of species"
TOLD = (
    "Names that no training text held are ranked by the text encoder alone, so these figures say as much of it as of "
    "the images. Species that fit equally well stand in one fixed random order."
)


UNSEEN = "No training image or text shows these species; a pretrained encoder may have met them all the same."


@dataclass(frozen=True)
class Asked:
    """Images with what is recorded of them and the species that fit best."""

    truth: list[str]
    first: list[list[str]]
    """The FIRST best (all, of fewer candidates), the best one first."""
    candidates: Sequence[str]
    lineages: Lineages
    groups: list[str]


@dataclass(frozen=True)
class Among:
    """The test images of a subject among its own species and those of a list."""

    subject: Subject
    found: Named
    listed: SpeciesList

    @cached_property
    def labelled(self) -> list[int]:
        """Images (positions in the gallery) that are labelled with a species."""
        return [n for n, name in enumerate(self.subject.species) if name is not None]

    @property
    def names(self) -> list[str]:
        """Their species."""
        return [name for name in self.subject.species if name is not None]

    @cached_property
    def mapped(self) -> dict[bool, list[str]]:
        """The species of the test images, by whether they stand on the list."""
        names = sorted(set(self.names))
        return {there: [name for name in names if (name in self.listed.taxa) is there] for there in (True, False)}

    @cached_property
    def candidates(self) -> list[str]:
        """All species, shuffled once by a fixed seed: it is the order among equals."""
        names = sorted({*self.found.candidates, *self.listed.taxa})
        return [names[n] for n in np.random.default_rng(0).permutation(len(names))]

    @cached_property
    def lineages(self) -> Lineages:
        """Candidate -> {rank: name}, its own included."""
        return {**self.found.lineages, **lineages(dict(self.listed.taxa))}

    @cached_property
    def vectors(self) -> Tensor:
        """(C, D) of the candidates' texts."""
        new = [name for name in self.candidates if name not in self.found.taxa]
        texts = [species_texts(self.listed.taxa[name], self.subject.language) for name in new]
        vectors = self.subject.model.class_vectors(texts)
        row = {name: n for n, name in enumerate([*self.found.candidates, *new])}
        return torch.cat([self.found.vectors, vectors])[[row[name] for name in self.candidates]]

    @cached_property
    def new(self) -> list[int]:
        """Images of species that stand on the list and in no training row."""
        shown, listed = self.subject.train_shown, self.listed.taxa
        return [n for n, name in zip(self.labelled, self.names, strict=True) if name in listed and name not in shown]

    def asked(self, images: list[int], closed: bool = False) -> Asked:
        """Some images among all candidates; `closed`: among the trained species alone."""
        column = [n for n, name in enumerate(self.candidates) if not closed or name in self.found.taxa]
        candidates, vectors = [self.candidates[n] for n in column], self.vectors[column]
        parts = self.subject.gallery.images[images].split(CHUNK)
        best = torch.cat([(part @ vectors.T).topk(min(FIRST, len(column))).indices for part in parts])
        names = dict(zip(self.labelled, self.names, strict=True))
        return Asked(
            [names[n] for n in images],
            [[candidates[n] for n in row] for row in best.tolist()],
            candidates,
            self.lineages,
            [self.subject.groups[n] for n in images],
        )


def groups(subject: Subject, settings: EvaluationSettings) -> list[FigureGroup]:
    """Among all, the same images among the trained species alone, and new species; or one line on why there are none.

    Nothing without `evaluation.gallery`. Raises DataRefused, storage.NotFound.
    """
    if settings.gallery is None:
        return []
    listed, found = read_species(settings.gallery), named(subject)
    if found is None:
        return [_none(f"{listed.path}: the training rows name fewer than two species")]
    among = Among(subject, found, listed)
    if not among.mapped[True]:
        return [_none(_unmapped(among))]
    every, own, prefix = len(among.candidates), len(found.candidates), f"{subject.split}/gallery"
    rows, closed, new = [], [], []
    if found.images:
        rows = _figures(prefix, among.asked(found.images))
        closed = _figures(f"{prefix}/closed", among.asked(found.images, closed=True))
    if among.new:
        new = _figures(f"{prefix}/new", among.asked(among.new))
    told = [*_mapped(prefix, among), *rows], _note(among), unranked(prefix, rows)
    return [
        FigureGroup(f"{TITLE}: images of trained species among all {every:,}", *told),
        FigureGroup(f"{TITLE}: the same images among the {own:,} trained species", closed, "The closed set."),
        FigureGroup(f"{TITLE}: images of new species among all {every:,}", new, UNSEEN, unranked(f"{prefix}/new", new)),
    ]


def _none(line: str) -> FigureGroup:
    return FigureGroup(TITLE, [], missing=[f"evaluation.gallery {line}"])


def _unmapped(among: Among) -> str:
    if not among.mapped[False]:
        return f"{among.listed.path}: no test image is labelled with a species"
    asked, there = among.mapped[False], next(iter(among.listed.taxa))
    return (f"{among.listed.path}: none of the {len(asked)} species of the test images stands on it by scientific name "
            f"(they are named like {asked[0]!r}, the list like {there!r})")  # fmt: skip


def _note(among: Among) -> str:
    absent, left_out = among.mapped[False], among.listed.refused.counts
    lines = [f"{among.listed.path}: {len(among.listed.taxa):,} species."]
    lines += [f"Rows left out: {', '.join(f'{one} {n}' for one, n in left_out.most_common())}."] if left_out else []
    lines += [f"Not on it by scientific name: {', '.join(absent)}."] if absent else []
    return " ".join([*lines, TOLD])


def _mapped(prefix: str, among: Among) -> list[Figure]:
    """How many species of the test images stand on the list, and how many do not; n are their images."""
    names = among.names
    told = ((True, "mapped", "Test species on the list, by scientific name"),
            (False, "not_mapped", "Test species that are not on the list"))  # fmt: skip
    return [
        figure(f"{prefix}/{key}", len(own), None, None, sum(name in set(own) for name in names), "", "species", label)
        for there, key, label in told
        for own in (among.mapped[there],)
    ]


def _figures(prefix: str, asked: Asked) -> list[Figure]:
    """Right at once, among the first five, at each rank, and how far off."""
    truth, best, among = asked.truth, [first[0] for first in asked.first], len(asked.candidates)
    within = np.array([float(name in first) for name, first in zip(truth, asked.first, strict=True)])
    guess, label = min(FIRST, among) / among, f"Species among the first {FIRST}"
    return [
        *tables.species(prefix, truth, best, asked.candidates, asked.groups),
        tables.share(f"{prefix}/species/top5_micro", f"{label}, of all images", within, guess, asked.groups),
        tables.share(f"{prefix}/species/top5_macro", f"{label}, species weighted equally", within, guess, asked.groups,
                     truth),
        *by_rank(prefix, truth, best, None, asked.candidates, asked.lineages, asked.groups),
    ]  # fmt: skip
