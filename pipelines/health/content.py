"""The health page as plain data: the first screen, and the sections in the order in which they are read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import ClassVar

from pipelines.health.bad import Bad, bad_section
from pipelines.health.clocks import Clocks, clocks_section
from pipelines.health.copies import Copies, copies_section
from pipelines.health.counting import by, percent, some
from pipelines.health.files import Files, Withheld, files_section, withheld_section
from pipelines.health.gathered import Gathered
from pipelines.health.licences import Licences, licences_section
from pipelines.health.queue import Queue, queue_section
from pipelines.health.sample import SEED
from pipelines.health.species import Coverage, counts_of, coverage_section
from pipelines.health.testable import Testable, testable_section
from pipelines.prepare.run import Run
from pipelines.recipe import Recipe
from pipelines.report.formats import count
from pipelines.report.sections import About, Section

CROPPED = ("Counted are images as a run makes them: crops of single animals, whole frames where there is no box.",)
"""Caveat of recipes with `data.crops`."""


@dataclass(frozen=True)
class Card:
    """One figure of the first screen; `share` (0..100) is drawn where there is one."""

    what: str
    big: str
    beside: str
    note: str
    share: float | None = None


@dataclass(frozen=True)
class HealthContent:
    """The page."""

    kicker: ClassVar[str] = "Archive health"
    cards: ClassVar[str] = "health/cards.html.j2"

    title: str
    subtitle: str
    generated: bool
    files: Files
    bad: Bad
    clocks: Clocks
    copies: Copies
    coverage: Coverage
    testable: Testable
    licences: Licences
    queue: Queue
    withheld: Withheld
    about: About
    cropped: bool
    """Whether frames are cut into crops of single animals."""
    unlooked: int
    """Files that the split gives to train and of which it is not known whether they are near duplicates."""

    @property
    def sections(self) -> Sequence[Section]:
        """What there is to say, in the order in which it is read."""
        data = (self.files, self.bad, self.clocks, self.copies, self.coverage, self.testable)
        return [part for part in (*data, self.licences, self.queue, self.withheld, self.about) if part]

    @property
    def verdict(self) -> str:
        """One sentence of what a run would make of the archive."""
        if self.files.obstacles:
            return f"A run would stop: {self.files.obstacles[0]}."
        start = f"Of {count(self.files.listed)} files listed, {count(self.files.taken)} would be taken"
        start += f" as {count(self.files.images)} images" if self.cropped else ""
        start += f", and {count(self.files.used)} of them would train, validate or test a model"
        start += " (some fewer: near duplicates are not known yet)" if self.unlooked else ""
        if not self.testable:
            return f"{start}."
        tested, every = self.testable.tested, len(self.testable.species)
        return f"{start}; {count(tested)} of {count(every)} species can be tested at places that do not train."

    @property
    def headline(self) -> Sequence[Card]:
        """Four figures at most."""
        return [self._files_card(), self._bad_card(), self._clock_card(), *self._species_card()]

    def _files_card(self) -> Card:
        share = percent(self.files.taken, self.files.listed)
        listed, used = count(self.files.listed), count(self.files.used)
        note = f"{used}{' images' if self.cropped else ''} would be in a split"
        return Card("Files that would be taken", count(self.files.taken), f"of {listed} listed", note, share)

    def _bad_card(self) -> Card:
        others = self.bad.others
        read, bad = self.bad.before + others.sampled, self.bad.before_bad + others.bad
        if not read:
            return Card("Bad files", "—", "no file was read", "give --sample a number")
        low, high = others.span
        span = (
            "every file was read"
            if others.whole
            else f"{count(low)} to {count(high)} of all {count(others.unread)} to expect, 95 %"
        )
        return Card("Bad files among those read", count(bad), f"of {count(read)} read", span, percent(bad, read))

    def _clock_card(self) -> Card:
        beside = f"of {count(self.clocks.files)} files"
        note = f"at {count(self.clocks.faulty)} of {count(self.clocks.every)} cameras"
        share = percent(self.clocks.distrusted, self.clocks.files)
        return Card("Files without a trusted time", count(self.clocks.distrusted), beside, note, share)

    def _species_card(self) -> list[Card]:
        if not self.testable:
            return []
        tested, every = self.testable.tested, len(self.testable.species)
        note = f"{count(every - tested)} cannot, with this split"
        return [
            Card("Species testable at unseen places", count(tested), f"of {count(every)}", note, percent(tested, every))
        ]


def content(recipe: Recipe, run: Run, found: Gathered) -> HealthContent:
    """Every section's counts of one gathered table."""
    images, files, data = found.images, found.files, run.data
    sources = {listing.name: listing.settings.source.kind for listing in run.listings}
    refused = {one.name: dict(one.known.survey.refused.counts) | one.damaged for one in run.listings}
    species = counts_of(images)
    tasks = recipe.model.tasks.present
    contrast = tasks.get("itc") or tasks.get("uto")
    policy, train = contrast.fn_policy if contrast else None, recipe.train
    split, queue = data.split.kind, recipe.model.queue.size
    counted = CROPPED if data.crops else ()
    caveats = (*counted, *_unlooked(found.unlooked))
    return HealthContent(
        title=f"{data.name}: what the archive holds",
        subtitle=recipe.description or f"Recipe {recipe.name}",
        generated=data.generated,
        files=replace(files_section(images, sources, refused, found.obstacles), caveats=caveats),
        bad=bad_section(files, data.max_bad_share, SEED),
        clocks=clocks_section(files),
        copies=copies_section(files),
        coverage=replace(coverage_section(images, species), caveats=counted),
        testable=replace(testable_section(images, species, split, found.obstacles), caveats=caveats),
        licences=licences_section(files),
        queue=replace(queue_section(images, queue, train.global_batch, policy, train.class_power), caveats=caveats),
        withheld=withheld_section(files, data.privacy),
        about=_about(run, found),
        cropped=data.crops is not None,
        unlooked=found.unlooked,
    )


def _unlooked(files: int) -> list[str]:
    if not files:
        return []
    told = f"{some(files, 'file')} that the split gives to train, empty frames among them, were not decoded"
    return [f"Near duplicates (data.thin) are not known yet: {told}. Some of these would leave."]


def _about(run: Run, found: Gathered) -> About:
    read = by(found.files, "read")
    parent = f"{run.data.name}, version {run.parent['version']}" if run.parent else "none yet"
    return About(
        intended_use=(
            "Deciding what to repair, label or ask for before a model is trained.",
            "Showing what a survey holds, and what it cannot answer.",
        ),
        limits=(
            "Labels are taken as they are: whether they are right is not looked at.",
            "Splits are as a run would make them now; files found bad or equal when all are read can move a few.",
            "Places and cameras go by ids made from their names or positions: whoever can guess one can check the "
            "guess. Paths are written as the archive has them: look at both before you pass the page on.",
            "Nothing was written to any store.",
        ),
        versions={
            "xmodal": version("xmodal"),
            "dataset": parent,
            "files read now": f"{count(read['now'])}",
            "hashed to find copies": f"{count(read['hashed'])}",
        },
    )
