"""Species accuracy by text: an image is given the species whose text fits it best."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.evaluate.subject import Subject
from pipelines.prepare.captions import class_texts
from pipelines.report.content import Confusion, PlaceRow, Places, Species
from xmodal.metrics import baselines, tables
from xmodal.metrics.classification import confusion, hits, per_class
from xmodal.metrics.intervals import mean, wilson


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
    unasked: int
    """Images of species that no training row holds."""


def named(subject: Subject) -> Named | None:
    """None where no image of the split, or no training row, names a species."""
    taxa = subject.train_taxa
    labelled = [n for n, record in enumerate(subject.records) if record["taxon_rank"] == "species"]
    images = [n for n in labelled if subject.records[n]["taxon"] in taxa]
    if not images or len(taxa) < 2:
        return None
    candidates = sorted(taxa)
    texts = subject.model.class_vectors([class_texts(taxa[name]) for name in candidates])
    best = (subject.gallery.images[images] @ texts.T).argmax(1).tolist()
    truth = [subject.records[n]["taxon"] for n in images]
    return Named(images, truth, [candidates[n] for n in best], candidates, taxa, len(labelled) - len(images))


def species(subject: Subject) -> tuple[Species, Places, Confusion]:
    """Report sections; empty ones where the set names no species."""
    found = named(subject)
    if found is None:
        return Species(), Places(), Confusion()
    groups = [subject.groups[n] for n in found.images]
    lineages = {name: facts["lineage"] | {facts["rank"]: name} for name, facts in found.taxa.items()}
    rows = tables.species(subject.split, found.truth, found.predicted, found.candidates, groups)
    rows += tables.per_rank(subject.split, found.truth, found.predicted, found.candidates, lineages, groups)
    rows += _baselines(subject, found, groups)
    counts = confusion(found.truth, found.predicted, found.candidates)
    common = {name: facts["names"].get("eng", "") for name, facts in found.taxa.items()}
    return (
        Species(per_class(counts, found.candidates), rows, {name: text for name, text in common.items() if text}),
        _places(subject, found),
        Confusion(found.candidates, counts),
    )


def _baselines(subject: Subject, found: Named, groups: list[str]) -> list[Any]:
    """What needs no image: the largest training class, and the most frequent training label of the place."""
    places, labels = subject.train_places
    answers: dict[str, tuple[str, Callable[[], list[str]]]] = {
        "largest_class": (
            "Largest training class, for every image",
            lambda: baselines.largest_class(labels, len(found.truth)),
        ),
        "place_only": (
            "Most frequent training label of the place; the largest class at unseen places",
            lambda: baselines.place_only(places, labels, [subject.records[n]["place"] for n in found.images]),
        ),
    }
    guess = 1 / len(found.candidates)
    return [
        tables.share(
            f"{subject.split}/species/{name}",
            label,
            hits(found.truth, answer()),
            guess,
            groups,
            note="no image is looked at",
        )
        for name, (label, answer) in answers.items()
    ]


def _places(subject: Subject, found: Named) -> Places:
    right = hits(found.truth, found.predicted)
    seen = set(subject.train_places[0])
    where = np.array([subject.records[n]["place"] or "" for n in found.images], dtype=object)
    rows = [
        PlaceRow(place, place in seen, int(own.sum()), mean(right[own]), wilson(int(right[own].sum()), int(own.sum())))
        for place in sorted(set(where.tolist()) - {""})
        for own in (where == place,)
    ]
    return Places(rows=rows)
