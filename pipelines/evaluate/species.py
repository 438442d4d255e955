"""Species accuracy by text: an image is given the species whose text fits it best."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipelines.evaluate.subject import Subject
from pipelines.report.content import Confusion, Species
from pipelines.taxa import species_texts
from xmodal.metrics import baselines, survey_tables, tables
from xmodal.metrics.classification import Lineages, confusion, hits, per_class
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
    vectors = subject.model.class_vectors([species_texts(taxa[name]) for name in candidates])
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
    rows += tables.per_rank(subject.split, *asked, found.lineages, found.groups, found.place_only)
    rows += survey_tables.lca(
        subject.split, found.truth, found.predicted, found.place_only, found.candidates, found.lineages, found.groups
    )
    common = {name: facts["names"].get("eng", "") for name, facts in found.taxa.items()}
    counts = confusion(found.truth, found.predicted, found.candidates)
    return Species(per_class(counts, found.candidates), rows, {name: text for name, text in common.items() if text})


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
