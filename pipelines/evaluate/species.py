"""Species accuracy by text: an image is given the species whose text fits it best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipelines.evaluate.ranks import by_rank
from pipelines.evaluate.subject import Subject
from pipelines.prepare.attributes import rank_values
from pipelines.report.content import Confusion, Species
from pipelines.taxa import species_texts
from xmodal.metrics import baselines, survey_tables, tables
from xmodal.metrics.classification import RANKS, Lineages, confusion, hits, per_class
from xmodal.metrics.figure import Figure


@dataclass(frozen=True)
class Named:
    """The images of a split whose species the training side holds, with what the model calls them."""

    images: list[int]
    """Positions in the gallery."""
    truth: list[str]
    predicted: list[str]
    candidates: list[str]
    """Species of the training rows: what the model chooses from."""
    taxa: dict[str, dict[str, Any]]
    """Candidate -> its facts (lineage, names)."""
    place_only: list[str]
    """The most frequent training label of the place of each image; at unseen places, of all training rows."""
    groups: list[str]
    """What is resampled, of each image."""
    similarities: NDArray[np.float64]
    """(N, C) of every image of the gallery with every candidate."""
    vectors: Tensor
    """(C, D) of the candidates' texts."""

    @property
    def lineages(self) -> Lineages:
        """Candidate -> {rank: name}, its own included."""
        return lineages(self.taxa)

    @property
    def answers(self) -> list[str]:
        """(N,) what every image of the gallery is called, whether or not its species is asked for."""
        return [self.candidates[n] for n in self.similarities.argmax(1)]


def named(subject: Subject) -> Named | None:
    """None where the training rows name fewer than two species; without `images` where the split shows none of them."""
    taxa = subject.train_taxa
    if len(taxa) < 2:
        return None
    candidates = sorted(taxa)
    vectors = subject.model.class_vectors([species_texts(taxa[name], subject.language) for name in candidates])
    similarities = (subject.gallery.images @ vectors.T).double().numpy()
    images = [n for n, name in enumerate(subject.species) if name in taxa]
    truth = [name for name in subject.species if name in taxa]
    predicted = [candidates[n] for n in similarities[images].argmax(1)]
    place_only = baselines.place_only(*subject.train_places, [subject.records[n]["place"] for n in images])
    groups = [subject.groups[n] for n in images]
    return Named(images, truth, predicted, candidates, taxa, place_only, groups, similarities, vectors)


def lineages(taxa: dict[str, dict[str, Any]]) -> Lineages:
    """Taxon -> {rank: name}, its own included, of taxon facts. A common name has no rank."""
    return {name: facts["lineage"] | ({facts["rank"]: name} if facts["rank"] else {}) for name, facts in taxa.items()}


def species(subject: Subject, found: Named) -> Species:
    """The species section: figures over all images, and a row a species. Needs images that are asked for."""
    asked = (found.truth, found.predicted, found.candidates)
    rows = tables.species(subject.split, *asked, found.groups, found.place_only)
    rows += [frame_f1(subject, found), *_baselines(subject, found)]
    rows += _of_ranks(subject, found)
    common = {name: facts["names"].get("eng", "") for name, facts in found.taxa.items()}
    names = {name: text for name, text in common.items() if text}
    return Species(per_class(*asked, found.groups), rows, names, not_asked(subject, found))


def higher_taxa(subject: Subject) -> dict[int, dict[str, str]]:
    """Image -> {rank: name}, of the images that are labelled with a taxon above the species."""
    named = {n: one["taxon"] for n, one in enumerate(subject.facts) if "taxon" in one and subject.species[n] is None}
    ladders = {n: rank_values(taxon) for n, taxon in named.items() if taxon["value"] is not None}
    return {n: ladder for n, ladder in ladders.items() if ladder}


def label_of(ladder: Mapping[str, str]) -> str:
    """A higher taxon as a label, with those above it."""
    return " > ".join(ladder.values())


def askable(subject: Subject, found: Named) -> dict[int, dict[str, str]]:
    """Those of `higher_taxa` that a trained species belongs to: of the others the model can name none."""
    known = {step for ladder in found.lineages.values() for step in ladder.items()}
    every = higher_taxa(subject)
    return {n: one for n, one in every.items() if next((rank, one[rank]) for rank in RANKS if rank in one) in known}


def _of_ranks(subject: Subject, found: Named) -> list[Figure]:
    """Right at each rank, and how far off: the images of trained species, and those that a higher taxon labels, which
    are asked for it and what lies above."""
    higher, answers = askable(subject, found), found.answers
    labels = [label_of(ladder) for ladder in higher.values()]
    known = baselines.place_only(*subject.train_places, [subject.records[n]["place"] for n in higher])
    truth, predicted = [*found.truth, *labels], [*found.predicted, *(answers[n] for n in higher)]
    place_only, groups = [*found.place_only, *known], [*found.groups, *(subject.groups[n] for n in higher)]
    every = {**found.lineages, **dict(zip(labels, higher.values(), strict=True))}
    return by_rank(subject.split, truth, predicted, place_only, found.candidates, every, groups)


def not_asked(subject: Subject, found: Named) -> str:
    """How many images are asked for what, and how many for nothing, in a sentence or two."""
    higher, asked = len(higher_taxa(subject)), len(askable(subject, found))
    other = [name for name in subject.species if name is not None and name not in found.taxa]
    beside = sum(name in subject.train_shown for name in other)
    unnamed = len(subject.records) - len(found.images) - len(other) - higher
    told = f"Of {len(subject.records)} images {len(found.images)} are asked for their species"
    told += f" and {asked}, labelled with a higher taxon, for its rank and those above." if asked else "."
    left_out = {
        "of new species": len(other) - beside,
        "of species that training images show beside others alone": beside,
        "of higher taxa without a trained species": higher - asked,
        "without a taxon (blank frames, people, animals that nobody named)": unnamed,
    }
    parts = ", ".join(f"{n} {words}" for words, n in left_out.items() if n)
    return f"{told} Not asked: {parts}." if parts else told


def confused(found: Named) -> Confusion:
    """Which species is taken for which."""
    return Confusion(found.candidates, confusion(found.truth, found.predicted, found.candidates))


def frame_f1(subject: Subject, found: Named) -> Figure:
    """Macro F1 of single frames."""
    name, label = f"{subject.split}/species/macro_f1", "Macro F1 of single frames"
    every = len(found.candidates)
    return survey_tables.f1(name, label, found.truth, found.predicted, found.place_only, every, found.groups)


def _baselines(subject: Subject, found: Named) -> list[Figure]:
    """What needs no image: the largest training class, the most frequent training label of the place, and how far the
    model is ahead of the latter."""
    largest = baselines.largest_class(subject.train_places[1], len(found.truth))
    told = (
        ("largest_class", "Largest training class, for every image", largest),
        ("place_only", "Most frequent training label of the place; the largest class at unseen places",
         found.place_only),
    )  # fmt: skip
    guess, prefix = 1 / len(found.candidates), f"{subject.split}/species"
    rows = [
        tables.share(f"{prefix}/{name}", label, hits(found.truth, answers), guess, found.groups,
                     note="no image is looked at")
        for name, label, answers in told
    ]  # fmt: skip
    ahead = survey_tables.over_place_only(subject.split, found.truth, found.predicted, found.place_only, found.groups)
    return [*rows, ahead]
