"""The claims C1 to C8 that this project reads in ReCap's abstract (docs/method.md), each as rows of the report or with
the reason why this model on this dataset cannot show it.

A single run never proves a claim: its rows are what two runs, with and without a part, are compared by.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipelines.evaluate import wordings
from pipelines.evaluate.classes import class_texts_of, labels
from pipelines.evaluate.species import Named, named
from pipelines.evaluate.stored import queue_figures
from pipelines.evaluate.subject import Subject, species_of
from pipelines.gallery import Embedded, Split, embed
from pipelines.report.content import FigureGroup
from xmodal.metrics import space, structure, tables
from xmodal.metrics.classification import Lineages, hits
from xmodal.metrics.figure import Figure, figure
from xmodal.metrics.intervals import Interval, jackknife_interval, mean, mean_interval
from xmodal.metrics.versions import probe_auc

TRAIN_ROWS = 2000
"""Training images, at most, that neighbours and linear probe learn from."""
LARGE = 1024
"""Pairs of a set, for the larger of the two information bounds."""

Answer = list[Figure] | str
"""Rows, or why there are none."""


@dataclass(frozen=True)
class Asked:
    """The subject, with what several claims need."""

    subject: Subject

    @cached_property
    def named(self) -> Named | None:
        return named(self.subject)

    @property
    def prefix(self) -> str:
        return f"{self.subject.split}/claims"

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor, list[str]]:
        """(n, D) images and their first texts, and the group of each."""
        found = self.subject.gallery
        images, first = np.unique(found.owner.numpy(), return_index=True)
        return found.images[images], found.texts[first], [self.subject.groups[n] for n in images]

    @cached_property
    def classes(self) -> list[str]:
        """The texts of a set of classes; none of other sets."""
        return class_texts_of(self.subject)

    def labels(self, found: Embedded, species: list[str | None]) -> list[str | None]:
        """The species of each row, in a set of classes its class; None where neither is recorded."""
        return labels(found, self.classes) if self.classes else species

    @cached_property
    def species(self) -> tuple[Tensor, list[str], list[str]]:
        """(n, D) images whose species is recorded, their species, their groups."""
        subject = self.subject
        rows = [n for n, name in enumerate(subject.species) if name is not None]
        names = [name for name in subject.species if name is not None]
        return subject.gallery.images[rows], names, [subject.groups[n] for n in rows]


def claims(subject: Subject) -> FigureGroup:
    """All eight, in order."""
    asked = Asked(subject)
    answers = {name: claim(asked) for name, claim in CLAIMS.items()}
    rows = [row for answer in answers.values() if not isinstance(answer, str) for row in answer]
    missing = [f"{name}: {answer}" for name, answer in answers.items() if isinstance(answer, str)]
    note = "What docs/method.md calls C1 to C8. Compare these rows between two runs; one run alone proves none of them."
    return FigureGroup("Claims C1 to C8", rows, note, missing)


def stored_keys(asked: Asked) -> Answer:
    """C1: do encoder fluctuations show in what the queue holds? C2 compares these rows of two runs."""
    return queue_figures(asked.subject, f"{asked.prefix}/c1")


def residual_attention(asked: Asked) -> Answer:
    """C2: does residual attention keep momentum updates consistent?"""
    network = asked.subject.model.network
    gates = network.query.enhancer_metrics()
    rows = [
        figure(f"{asked.prefix}/c2/{name}", float(value), 0.0, None, 1, "", "0 = the identity", f"C2: gate {name}")
        for name, value in gates.items()
    ]
    if rows or network.settings.queue.refresh is not None:
        return rows or "the refresh has no weights to show; compare C1 with a run without it"
    return "this model has neither residual attention nor refresh; compare C1 with a run that has"


def information(asked: Asked) -> Answer:
    """C3: how much does an image tell of its text, and of its species?"""
    images, texts, groups = asked.pairs
    rows = []
    if len(images) >= LARGE:
        bound = space.i_nce(images, texts, LARGE, asked.subject.temperature)
        note = f"nats, at most {np.log(LARGE):.2f}; sets of {LARGE}"
        rows.append(figure(f"{asked.prefix}/c3_i_nce_1024", mean(bound), 0.0, mean_interval(bound, groups),
                           int((~np.isnan(bound)).sum()), "", note, "C3: mutual information bound"))  # fmt: skip
    points, labels, _ = asked.species
    if len(set(labels)) >= 2:
        found, chance = structure.nmi(points, labels)
        note = "k-means with as many clusters as species; chance: species dealt at random"
        label = "C3: species and clusters of images (NMI)"
        rows.append(figure(f"{asked.prefix}/c3_nmi", found, chance, None, len(labels), "", note, label))
    return (
        rows or f"fewer than {LARGE} test pairs (the bound at 256 stands under Shared space), and no species recorded"
    )


def distribution(asked: Asked) -> Answer:
    """C4: do both modalities share one space? Alignment, uniformity, gap and rank stand under Shared space."""
    images, texts, _ = asked.pairs
    label = torch.arange(2 * len(images)) < len(images)
    found = probe_auc(torch.cat([images, texts]), label)
    note = "0.5 = a linear probe cannot tell images from texts"
    return [
        figure(
            f"{asked.prefix}/c4_modality_auc", found, 0.5, None, len(label), "", note, "C4: modality told apart (AUC)"
        )
    ]


def similarity_relations(asked: Asked) -> Answer:
    """C5: are related species near each other?"""
    points, labels, _ = asked.species
    if asked.named is None or not labels:
        return "no species are recorded"
    lineages, (centres, names) = asked.named.lineages, structure.prototypes(points, labels)
    kept = structure.complete(names, lineages)
    distances = structure.taxonomic_distances([names[n] for n in kept], lineages)
    value = structure.rsa(centres[kept], distances)
    if np.isnan(value):
        return f"{len(kept)} test species have a whole lineage: too few, or all equally far apart"

    def without(rows: np.ndarray) -> float:
        return np.arctanh(structure.rsa(centres[kept][torch.from_numpy(rows)], distances[rows][:, rows]))

    # Fisher's z: an interval of the correlation itself would reach beyond 1
    z = jackknife_interval(without, [names[n] for n in kept])
    bounds = Interval(np.tanh(z.low), np.tanh(z.high)) if z and np.isfinite([z.low, z.high]).all() else None
    note = "Spearman correlation over pairs of species; interval by jackknife over species (Fisher's z)"
    label = "C5: image distances follow the taxonomy"
    found = figure(f"{asked.prefix}/c5_rsa", value, 0.0, bounds, len(kept), "", note, label)
    return [found, *_of_relatives(asked, lineages)]


def _of_relatives(asked: Asked, lineages: Lineages) -> list[Figure]:
    """MAP@R from image to image, right are those of the same taxon at a rank: above the species it is the relatives
    that count, at the species itself plain retrieval."""
    points, labels, groups = asked.species
    rows = []
    for rank in ("genus", "family", "order"):
        taxa = [lineages.get(one, {}).get(rank) for one in labels]
        kept = [n for n, taxon in enumerate(taxa) if taxon is not None]
        found = structure.image_map([taxa[n] for n in kept], points[kept])
        if len({taxa[n] for n in kept}) < 2 or np.isnan(found.map_at_r).all():
            continue
        note = f"R = the other images of its {rank}; {len(set(taxa) - {None})} of them; mean over images"
        label = f"C5: images of the same {rank} found by an image (MAP@R)"
        where = [groups[n] for n in kept]
        rows.append(tables.share(f"{asked.prefix}/c5_map_{rank}", label, found.map_at_r, found.chance_map_at_r(), where,
                                 note=note))  # fmt: skip
    return rows


def ambiguity(asked: Asked) -> Answer:
    """C6: do different true texts of an image say the same, and do wordings that training never read?"""
    subject = asked.subject
    counts = [len(captions) for captions in subject.embedded.captions]
    texts, owner = torch.cat(subject.embedded.texts), torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    groups = [group for group, count in zip(subject.groups, counts, strict=True) if count > 1]
    if not groups:
        return "no test image has two texts"
    name, label = f"{asked.prefix}/c6_paraphrase_variance", "C6: variance over the texts of an image"
    more = ". Wordings are those of training"
    recorded = wordings.variance(name, label, texts, owner, groups, "texts of an image", more)
    return [recorded, *wordings.figures(subject, asked.prefix)]


def agreement(asked: Asked) -> Answer:
    """C7: does search find the image by the caption that the model writes of it?"""
    subject = asked.subject
    if not subject.model.captions_images:
        return "the model writes no captions (tasks.lm)"
    rows, texts = subject.written
    nearest = structure.cycle(subject.gallery.images[rows], subject.model.text_vectors(texts)).numpy()
    own = (nearest == np.arange(len(rows))).astype(np.float64)
    groups, note = [subject.groups[n] for n in rows], f"{len(rows)} images"
    label = "C7: image found by its own caption"
    found = [tables.share(f"{asked.prefix}/c7_cycle_r1", label, own, 1 / len(rows), groups, note=note)]
    species = [subject.species[n] for n in rows]
    if len(set(species) - {None}) >= 2:
        same = [np.nan if one is None else float(species[n] == one) for one, n in zip(species, nearest, strict=True)]
        chance = [np.nan if one is None else species.count(one) / len(species) for one in species]
        label = "C7: species of the image that its own caption finds"
        found.append(tables.share(f"{asked.prefix}/c7_cycle_species", label, same, chance, groups))
    return found


def classification(asked: Asked) -> Answer:
    """C8: are frozen image vectors enough to classify? Zero-shot accuracy stands under Species."""
    subject, kind = asked.subject, "class" if asked.classes else "species"
    some = Split.of(subject.dataset, subject.rows.reader, ("train",), TRAIN_ROWS)
    trained = embed(subject.model.network, some, subject.model.device)
    taught, given = (
        asked.labels(of, species)
        for of, species in ((trained, species_of(some, "train")), (subject.embedded, subject.species))
    )
    known = [n for n, label in enumerate(taught) if label is not None]
    names = [label for label in taught if label is not None]
    kept = [n for n, label in enumerate(given) if label in set(names)]
    if len(set(names)) < 2 or not kept:
        return "fewer than two species or classes are recorded in training, or none of them in this split"
    truth = [label for n in kept if (label := given[n]) is not None]
    train, asked_of = torch.cat(trained.images)[known], subject.gallery.images[kept]
    answers = {
        "knn": ("20 nearest neighbours", structure.knn(train, names, asked_of)),
        "probe": ("linear probe", structure.linear_probe(train, names, asked_of)),
    }
    plural = "classes" if asked.classes else "species"
    note = f"{plural} weighted equally; learnt from {len(known)} training images of {len(set(names))} {plural}"
    where, guess, prefix = [subject.groups[n] for n in kept], 1 / len(set(names)), f"{asked.prefix}/c8"
    return [
        tables.share(f"{prefix}_{key}", f"C8: {kind} right by {words}", hits(truth, found), guess, where, truth, note)
        for key, (words, found) in answers.items()
    ]


CLAIMS: dict[str, Callable[[Asked], Answer]] = {
    "C1": stored_keys,
    "C2": residual_attention,
    "C3": information,
    "C4": distribution,
    "C5": similarity_relations,
    "C6": ambiguity,
    "C7": agreement,
    "C8": classification,
}
