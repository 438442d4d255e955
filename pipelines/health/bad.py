"""Bad files: what the ledger knows, and what a sample lets expect of the others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.health import words
from pipelines.health.counting import by, some, taken
from pipelines.health.section import HealthSection
from pipelines.report import formats
from pipelines.sources.formats import mismatched
from xmodal.metrics.intervals import Interval, wilson

EXAMPLES = 3
SILENT = ("withheld", "taken_down", "metadata")
"""Reasons that say nothing about the quality of an archive."""


@dataclass(frozen=True)
class BadRow:
    """Files that gave no image for one reason."""

    name: str
    meaning: str
    remedy: str
    before: int
    """By the ledger."""
    now: int
    """In the sample."""
    examples: Sequence[str]


@dataclass(frozen=True)
class Estimate:
    """Bad files among `unread` ones, of which `sampled` were read and `bad` of these gave no image."""

    unread: int
    sampled: int
    bad: int

    @property
    def whole(self) -> bool:
        """Whether the sample is all there was to read."""
        return self.sampled == self.unread

    @property
    def interval(self) -> Interval | None:
        """Of the share among the unread ones (Wilson, 95 %); None where all of them, or none, were read."""
        return None if self.whole else wilson(self.bad, self.sampled)

    @property
    def span(self) -> tuple[int, int]:
        """The fewest and the most files to expect: what was found is there, and what was good is not bad."""
        if self.whole:
            return self.bad, self.bad
        found = self.interval or Interval(0, 1)
        most = self.unread - self.sampled + self.bad
        return max(self.bad, round(found.low * self.unread)), min(most, round(found.high * self.unread))


@dataclass(frozen=True)
class Quality:
    """One survey against data.max_bad_share, counted as `prepare` counts."""

    survey: str
    files: int
    """Files that are images, or that the metadata or their names say are."""
    certain: int
    """Bad ones by listing and ledger."""
    others: Estimate

    @property
    def span(self) -> tuple[float, float]:
        """The least and the greatest share of bad files to expect, 0..1."""
        low, high = self.others.span
        return (self.certain + low) / max(1, self.files), (self.certain + high) / max(1, self.files)


@dataclass(frozen=True, kw_only=True)
class Bad(HealthSection):
    """Files that give no image."""

    anchor: ClassVar[str] = "bad"
    title: ClassVar[str] = "Bad files"

    before: int
    """Files whose bytes the ledger knows, `before_bad` of them bad."""
    before_bad: int
    others: Estimate
    seed: int
    rows: Sequence[BadRow] = ()
    surveys: Sequence[Quality] = ()
    limit: float
    """data.max_bad_share."""
    misnamed: int

    @property
    def lead(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        if not self.others.sampled:
            return "What became of the files when the dataset was made, by its ledger. None was read for this page."
        if self.others.whole:
            return "Every file was read, now or when the dataset was made."
        part = f"{formats.count(self.others.sampled)} of {formats.count(self.others.unread)} files"
        return (
            f"A sample: {part} whose bytes no ledger knows were read, drawn with seed {self.seed} and spread over "
            "places. What it says of the others is an estimate."
        )


def bad_section(files: pa.Table, limit: float, seed: int) -> Bad:
    """Of the files among IMAGES."""
    read = files.filter(pc.field("read").isin(["before", "now"]))
    before, now = (read.filter(pc.field("read") == when) for when in ("before", "now"))
    names = Counter(read["bad"].drop_null().to_pylist())
    known, found = by(before, "bad"), by(now, "bad")
    named = zip(read["key"].to_pylist(), read["magic"].to_pylist(), strict=True)
    surveys = [_quality(files.filter(pc.field("survey") == name), name) for name in sorted(by(files, "survey"))]
    section = Bad(
        before=len(before),
        before_bad=len(before) - known[None],
        others=_estimate(files),
        seed=seed,
        rows=[_row(read, name, known[name], found[name]) for name, _ in names.most_common()],
        surveys=surveys,
        limit=limit,
        misnamed=sum(mismatched(key, magic) for key, magic in named),
    )
    return replace(section, advice=_advice(section))


def _estimate(files: pa.Table) -> Estimate:
    """Of the files that would be taken and that the ledger does not know."""
    unread = taken(files).filter(pc.field("read").is_null() | (pc.field("read") != "before"))
    sampled = unread.filter(pc.field("read") == "now")
    return Estimate(len(unread), len(sampled), len(sampled["bad"].drop_null()))


def _quality(own: pa.Table, survey: str) -> Quality:
    refused = own.filter(pc.field("reason").is_valid() & ~pc.field("reason").isin(SILENT))
    other = refused.filter((pc.field("reason") == "not_image") & pc.field("read").is_null())
    certain = len(refused) - len(other)
    return Quality(survey, certain + len(taken(own)), certain, _estimate(own))


def _row(read: pa.Table, name: str, before: int, now: int) -> BadRow:
    own = words.reason(name)
    examples = read.filter(pc.field("bad") == name)["key"].slice(0, EXAMPLES).to_pylist()
    return BadRow(name, own.meaning, own.remedy, before, now, examples)


def _advice(section: Bad) -> list[str]:
    found = [
        f"{some(row.before + row.now, 'file')} ({row.meaning}): {row.remedy}" for row in section.rows[:4] if row.remedy
    ]
    over = [one.survey for one in section.surveys if one.span[0] > section.limit]
    may = [one.survey for one in section.surveys if one.span[0] <= section.limit < one.span[1]]
    if over:
        worst = f"More files of {', '.join(over)} are bad than data.max_bad_share allows"
        found.append(f"{worst}: a run would end without a version. Repair them, or raise the setting.")
    if may and section.others.sampled:
        open_ones = f"Whether a run would stop at data.max_bad_share cannot be told yet for {', '.join(may)}"
        found.append(f"{open_ones}: read more files (--sample).")
    if section.others.unread and not section.others.sampled:
        found.append("Nothing was read: give --sample a number to learn what share of the files is bad.")
    return found or ["Nothing: no bad file was met."]
