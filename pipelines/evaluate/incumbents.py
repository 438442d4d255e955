"""What the archive had before: SpeciesNet's names and MegaDetector's verdicts on the same frames, beside the model's.

Better than what you have, by how much, and where not. Frames whose recorded label is a machine's own are left out: they
would find that machine right by definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.blanks import Blanks
from pipelines.evaluate.machines import by_machine, name_of, surest
from pipelines.evaluate.species import Named, higher_taxa, label_of, lineages
from pipelines.evaluate.subject import Subject
from pipelines.evaluate.verdicts import verdicts
from pipelines.report.content import BesideRow, Incumbent, Incumbents, Pair
from pipelines.taxa import species_taxa
from xmodal.metrics import baselines, survey_tables, tables
from xmodal.metrics.classification import RANKS, Lineages, rank_chance, rank_hits
from xmodal.metrics.paired import paired

LEAST = 10
"""Frames of a species or a place from which on it gets a row."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Beside:
    """n frames that people gave a species or a higher taxon, and that a machine answered for."""

    who: str
    prefix: str
    """Start of its log keys."""
    truth: list[str]
    model: list[str]
    machine: list[str]
    """Labels in `lineages`: a taxon at whatever rank, or blank, human, vehicle."""
    place_only: list[str]
    candidates: list[str]
    lineages: Lineages
    places: list[str]
    groups: list[str]
    species: NDArray[np.bool_]
    """Labelled with a species; a higher taxon asks for its rank and those above."""
    trained: NDArray[np.bool_]
    """With one that the model was trained on."""

    def right(self, answers: Sequence[str], rank: str = "species") -> Array:
        """(n,) 1 where an answer lies in the true taxon's rank; NaN where the truth has no name there."""
        return rank_hits(self.truth, answers, self.lineages, rank)


def incumbents(subject: Subject, found: Named, asked: Blanks) -> Incumbents:
    """The section: a part for each machine that named species, then one for each that told animals from blanks."""
    origins = sorted({one["origin"] for said in subject.incumbents for one in said})
    named = [beside(subject, found, origin) for origin in origins]
    told = [verdicts(subject, len(found.candidates), asked, origin) for origin in origins]
    return Incumbents([*(_species_part(one) for one in named if one), *(one for one in told if one)])


def beside(subject: Subject, found: Named, origin: str) -> Beside | None:
    """None where people gave no frame a species, or the machine named no taxon on one that they named."""
    said = [surest(one, origin) for one in subject.incumbents]
    higher = higher_taxa(subject)
    names = [name or (label_of(higher[n]) if n in higher else None) for n, name in enumerate(subject.species)]
    images = [n for n, name in enumerate(names) if name and said[n] and _by_people(subject.facts[n])]
    entries = [one for n in images if (one := said[n]) is not None]
    named = np.array([subject.species[n] is not None for n in images], dtype=bool)
    if not any(one["taxon"] for one in entries) or not named.any():
        return None
    truth = [name for n in images if (name := names[n])]
    above = {label_of(higher[n]): higher[n] for n in images if n in higher}
    machine = [f"{origin}: {one['taxon'] or one['type']}" for one in entries]
    ladders = {label: one["lineage"] for label, one in zip(machine, entries, strict=True)}
    where = [subject.records[n]["place"] for n in images]
    return Beside(
        who=name_of(origin),
        prefix=f"{subject.split}/{origin}",
        truth=truth,
        model=[found.answers[n] for n in images],
        machine=machine,
        place_only=baselines.place_only(*subject.train_places, where),
        candidates=found.candidates,
        lineages={**lineages(species_taxa(subject.facts[n] for n in images)), **found.lineages, **above, **ladders},
        places=[place or "" for place in where],
        groups=[subject.groups[n] for n in images],
        species=named,
        trained=np.array([name in found.taxa for name in truth]),
    )


def _by_people(facts: dict[str, Any]) -> bool:
    """Whether people gave the frame a scientific name: machines give no other, so nothing else can be compared."""
    return facts["taxon"]["value"] is not None and not by_machine(facts, "taxon")


def _species_part(own: Beside) -> Incumbent:
    every, trained = np.flatnonzero(own.species), np.flatnonzero(own.trained)
    pairs = [*_compared(own, "all", "All species", every)]
    if 0 < len(trained) < len(every):
        pairs += _compared(own, "trained", "Species that the model was trained on", trained)
    pairs += [pair for rank in RANKS[1:] for pair in _at_rank(own, rank)]
    note = (
        f"The same {len(every)} frames for both{_above(own)}. {own.who} names a species of its own list or a higher "
        "taxon, which counts as right at that rank; the model names one of its training species."
    )
    species = _rows(own, own.truth, np.array(own.truth, dtype=object))
    places = _rows(own, sorted(set(own.places) - {""}), np.array(own.places, dtype=object))
    title, what = f"Species, beside {own.who}", "naming the species"
    return Incumbent(own.who, what, title, pairs[0].ahead, pairs, note, species, places, LEAST)


def _above(own: Beside) -> str:
    higher = int((~own.species).sum())
    return f", and {higher} labelled with a higher taxon, which count from its rank upwards" if higher else ""


def _compared(own: Beside, key: str, words: str, kept: NDArray[np.int64]) -> list[Pair]:
    """Micro and macro accuracy of both, and the paired difference, on some of the frames."""
    answers = [own.right(of)[kept] for of in (own.model, own.machine, own.place_only)]
    truth, groups = ([of[n] for n in kept] for of in (own.truth, own.groups))
    guess = own.trained[kept] / len(own.candidates)  # what it has no name for is never guessed
    return [
        _pair(own, f"{key}/micro", f"{words}, of all images", answers, guess, groups),
        _pair(own, f"{key}/macro", f"{words}, weighted equally", answers, guess, groups, truth),
    ]


def _at_rank(own: Beside, rank: str) -> list[Pair]:
    """Accuracy of both at a rank; empty where no true species has a name there."""
    answers = [own.right(of, rank) for of in (own.model, own.machine, own.place_only)]
    guess = rank_chance(own.truth, own.candidates, own.lineages, rank)
    pair = _pair(own, rank, f"Right at the rank of {rank}", answers, guess, own.groups)
    return [pair] if pair.incumbent.n else []


def _pair(
    own: Beside, key: str, label: str, answers: Sequence[Array], guess: Array, groups: Sequence[str],
    classes: Sequence[str] | None = None,
) -> Pair:  # fmt: skip
    """`answers`: what the model, the machine and the place-only baseline get right, (n,) each."""
    model, machine, known = answers
    apart = paired(model, machine, groups, classes)
    return Pair(
        label,
        tables.share(f"{own.prefix}/incumbent/{key}", f"{own.who}: {label}", machine, None, groups, classes,
                     baseline=known),
        tables.share(f"{own.prefix}/model/{key}", f"The model: {label}", model, guess, groups, classes, baseline=known),
        survey_tables.over(f"{own.prefix}/ahead/{key}", f"Model minus {own.who}: {label}", apart),
        apart.better,
    )  # fmt: skip


def _rows(own: Beside, names: Sequence[str], of: NDArray) -> list[BesideRow]:
    """A row for each of `names` with enough frames, where the machine is furthest ahead first; `of` (n,) is whose frame
    it is."""
    model, machine, found = own.right(own.model), own.right(own.machine), []
    for name in sorted(set(names)):
        kept = np.flatnonzero((of == name) & own.species)
        if len(kept) >= LEAST:
            apart = paired(model[kept], machine[kept], [own.groups[n] for n in kept])
            shares = (float(model[kept].mean()), float(machine[kept].mean()))
            found.append(BesideRow(name, len(kept), *shares, apart.interval, bool(own.trained[kept].any())))
    return sorted(found, key=lambda row: (row.model - row.incumbent, -row.n, row.name))
