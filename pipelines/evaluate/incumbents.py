"""What the archive had before: SpeciesNet's names and MegaDetector's verdicts on the same frames, beside the model's.

Better than what you have, by how much, and where not. Frames whose recorded label is a machine's own are left out: they
would find that machine right by definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.blanks import Blanks, misses
from pipelines.evaluate.species import Named, lineages
from pipelines.evaluate.subject import Subject
from pipelines.prepare.incumbents import DETECTOR
from pipelines.report.content import BesideRow, FigureGroup, Incumbent, Incumbents
from xmodal.metrics import baselines, survey_tables, tables
from xmodal.metrics.classification import RANKS, Lineages, rank_chance, rank_hits
from xmodal.metrics.figure import Figure
from xmodal.metrics.paired import paired

NAMES = {"speciesnet": "SpeciesNet", DETECTOR: "MegaDetector"}
LEAST = 10
"""Frames of a species or a place from which on it gets a row."""
Array = NDArray[np.float64]
Entry = dict[str, Any]


@dataclass(frozen=True)
class Beside:
    """n frames that people gave a species, and that a machine answered for."""

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
    trained: NDArray[np.bool_]
    """Species that the model was trained on."""

    def right(self, answers: Sequence[str], rank: str = "species") -> Array:
        """(n,) 1 where an answer lies in the true taxon's rank; NaN where the truth has no name there."""
        return rank_hits(self.truth, answers, self.lineages, rank)


def incumbents(subject: Subject, found: Named, asked: Blanks) -> Incumbents:
    """The section: a part for each machine that named species, and one for each that told animals from blanks."""
    origins = sorted({one["origin"] for said in subject.incumbents for one in said})
    parts = [part for origin in origins for part in _parts(subject, found, asked, origin)]
    return Incumbents(parts)


def _parts(subject: Subject, found: Named, asked: Blanks, origin: str) -> list[Incumbent]:
    named, told = beside(subject, found, origin), _verdicts(subject, found, asked, origin)
    parts = [_species_part(named)] if named else []
    return [*parts, told] if told else parts


def name_of(origin: str) -> str:
    """What a reader calls it."""
    return NAMES.get(origin, f"Machine labels of the archive ({origin})")


def surest(said: Sequence[Entry], origin: str) -> Entry | None:
    """The one answer of a machine to a frame: its most confident entry, the first of equals."""
    own = [one for one in said if one["origin"] == origin]
    return max(own, key=lambda one: one["confidence"] or 0) if own else None


def by_machine(facts: dict[str, Any], name: str) -> bool:
    """Whether a recorded fact is a machine's word."""
    return "/machine" in facts[name]["source"]


def beside(subject: Subject, found: Named, origin: str) -> Beside | None:
    """None where the machine named no taxon on any frame that people gave a species."""
    said = [surest(one, origin) for one in subject.incumbents]
    images = [
        n for n, record in enumerate(subject.records)
        if record["taxon_rank"] == "species" and said[n] and not by_machine(subject.facts[n], "taxon")
    ]  # fmt: skip
    entries = [one for n in images if (one := said[n]) is not None]
    if not any(one["taxon"] for one in entries):
        return None
    own = {subject.records[n]["taxon"]: subject.facts[n]["taxon"] for n in images}
    machine = [f"{origin}: {one['taxon'] or one['type']}" for one in entries]
    ladders = {label: one["lineage"] for label, one in zip(machine, entries, strict=True)}
    where = [subject.records[n]["place"] for n in images]
    return Beside(
        who=name_of(origin),
        prefix=f"{subject.split}/{origin}",
        truth=[subject.records[n]["taxon"] for n in images],
        model=[found.answers[n] for n in images],
        machine=machine,
        place_only=baselines.place_only(*subject.train_places, where),
        candidates=found.candidates,
        lineages={**lineages(own), **found.lineages, **ladders},
        places=[place or "" for place in where],
        groups=[subject.groups[n] for n in images],
        trained=np.array([subject.records[n]["taxon"] in found.taxa for n in images]),
    )


def _species_part(own: Beside) -> Incumbent:
    trained = np.flatnonzero(own.trained)
    rows = [*_compared(own, "all", "all species", np.arange(len(own.truth)))]
    if 0 < len(trained) < len(own.truth):
        rows += _compared(own, "trained", "trained species", trained)
    rows += [row for rank in RANKS[1:] for row in _at_rank(own, rank)]
    label = f"Species, beside {own.who}"
    note = (
        f"The same {len(own.truth)} frames for both. {own.who} names a species of its own list or a higher taxon, "
        "which counts as right at that rank; the model names one of its training species."
    )
    species = _rows(own, own.truth, np.array(own.truth, dtype=object))
    places = _rows(own, sorted(set(own.places) - {""}), np.array(own.places, dtype=object))
    ahead = next(row for row in rows if row.name.endswith("ahead/all/micro"))
    return Incumbent(own.who, ahead, FigureGroup(label, rows, note), species, places, LEAST)


def _compared(own: Beside, key: str, words: str, kept: NDArray[np.int64]) -> list[Figure]:
    """Micro and macro accuracy of both, and the paired difference, on some of the frames."""
    truth, groups = ([of[n] for n in kept] for of in (own.truth, own.groups))
    model, machine, known = (own.right(of)[kept] for of in (own.model, own.machine, own.place_only))
    guess, rows = own.trained[kept] / len(own.candidates), []  # what it has no name for is never guessed
    for average, classes, how in (("micro", None, "of all images"), ("macro", truth, "species weighted equally")):
        told = f"{words}, {how}"
        rows += [
            tables.share(f"{own.prefix}/model/{key}/{average}", f"The model: {told}", model, guess, groups, classes,
                         baseline=known),
            tables.share(f"{own.prefix}/incumbent/{key}/{average}", f"{own.who}: {told}", machine, None, groups,
                         classes, baseline=known),
            survey_tables.over(f"{own.prefix}/ahead/{key}/{average}", f"Model minus {own.who}: {told}",
                               paired(model, machine, groups, classes)),
        ]  # fmt: skip
    return rows


def _at_rank(own: Beside, rank: str) -> list[Figure]:
    model, machine, known = (own.right(of, rank) for of in (own.model, own.machine, own.place_only))
    if np.isnan(model).all():
        return []
    guess, where = rank_chance(own.truth, own.candidates, own.lineages, rank), f"right at the rank of {rank}"
    return [
        tables.share(f"{own.prefix}/model/{rank}", f"The model: {where}", model, guess, own.groups, baseline=known),
        tables.share(f"{own.prefix}/incumbent/{rank}", f"{own.who}: {where}", machine, None, own.groups,
                     baseline=known),
        survey_tables.over(f"{own.prefix}/ahead/{rank}", f"Model minus {own.who}: {where}",
                           paired(model, machine, own.groups)),
    ]  # fmt: skip


def _rows(own: Beside, names: Sequence[str], of: NDArray) -> list[BesideRow]:
    """A row for each of `names` with enough frames, where the machine is furthest ahead first; `of` (n,) is whose frame
    it is."""
    model, machine, found = own.right(own.model), own.right(own.machine), []
    for name in sorted(set(names)):
        kept = np.flatnonzero(of == name)
        if len(kept) >= LEAST:
            apart = paired(model[kept], machine[kept], [own.groups[n] for n in kept])
            shares = (float(model[kept].mean()), float(machine[kept].mean()))
            found.append(BesideRow(name, len(kept), *shares, apart.interval, bool(own.trained[kept].any())))
    return sorted(found, key=lambda row: (row.model - row.incumbent, -row.n, row.name))


def _verdicts(subject: Subject, found: Named, asked: Blanks, origin: str) -> Incumbent | None:
    """Animal or blank, by a machine and by the model, on the frames that the machine answered for."""
    said = [surest(subject.incumbents[n], origin) for n in asked.images]
    kept = np.array(
        [one is not None and not by_machine(subject.facts[n], "type")
         for n, one in zip(asked.images, said, strict=True)], dtype=bool
    )  # fmt: skip
    if not (asked.blank & kept).any() or not (~asked.blank & kept).any():
        return None
    rows = np.flatnonzero(kept)
    called = np.array([one["type"] == "blank" for n in rows if (one := said[n]) is not None])
    own = Blanks(asked.images[kept], asked.blank[kept], None if asked.called is None else asked.called[kept],
                 [asked.groups[n] for n in rows])  # fmt: skip
    who, prefix = name_of(origin), f"{subject.split}/{origin}/blank"
    theirs = misses(f"{prefix}/incumbent", who, own, called, None)
    note = (
        f"The same {len(rows)} frames for both. Where labels of whole events reach only frames in which a detector "
        "found an animal, that detector can miss none of them: its own misses are then larger than they look."
    )
    if own.called is None:
        told = f"{note} The model has learnt no word for a blank, so it has no verdict to set beside."
        return Incumbent(who, None, FigureGroup(f"Animal or blank, beside {who}", theirs, told))
    ours = misses(f"{prefix}/model", "The model", own, own.called, len(found.candidates))
    kinds = ["blank" if one else "animal" for one in own.blank]
    model, machine = ((of == own.blank).astype(np.float64) for of in (own.called, called))
    apart = paired(model, machine, own.groups, kinds)
    ahead = survey_tables.over(f"{prefix}/ahead", f"Model minus {who}: animal or blank right, both weighted equally",
                               apart)  # fmt: skip
    return Incumbent(who, ahead, FigureGroup(f"Animal or blank, beside {who}", [*ours, *theirs, ahead], note))
