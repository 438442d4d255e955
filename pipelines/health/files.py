"""What would be taken of an archive and what not, and what is withheld of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.health import words
from pipelines.health.counting import by, counted, some, taken
from pipelines.health.section import HealthSection
from pipelines.prepare.assigned import SPLITS
from pipelines.prepare.settings import PrivacySettings

PRIVATE = ("withheld", "taken_down")
MOST_ADVICE = 4


@dataclass(frozen=True)
class Row:
    """Files with one fate; `name` is the ledger's word for it, `meaning` ours."""

    name: str
    meaning: str
    files: int

    @property
    def pair(self) -> tuple[str, int]:
        return self.meaning, self.files


@dataclass(frozen=True)
class SurveyFiles:
    """Files of one survey: `listed` = `taken` + `refused`; `missing` are named by the metadata and not listed."""

    name: str
    source: str
    listed: int
    taken: int
    refused: int
    missing: int


@dataclass(frozen=True, kw_only=True)
class Files(HealthSection):
    """Every file once."""

    anchor: ClassVar[str] = "files"
    title: ClassVar[str] = "What would be taken"
    lead: ClassVar[str] = (
        "Every file that the archive lists is counted once: taken, or not taken and why. Told by listing and metadata, "
        "and for files that were read before by the dataset’s ledger."
    )

    surveys: Sequence[SurveyFiles] = ()
    fates: Sequence[Row] = ()
    """Listed files; the first row are those taken."""
    absent: Sequence[Row] = ()
    """Files that the metadata name and the archive lacks."""
    images: int
    """What the files taken would give: one image each, or its crops."""
    uses: Sequence[Row] = ()
    """What the images are for: splits, and why in none."""
    obstacles: Sequence[str] = ()
    """What a run would end with."""
    rows_refused: Mapping[str, Mapping[str, int]]
    """Survey to reason to metadata rows, or members of containers, that were not taken as written."""

    @property
    def listed(self) -> int:
        return sum(row.files for row in self.fates)

    @property
    def taken(self) -> int:
        return self.fates[0].files

    @property
    def used(self) -> int:
        """Images that would be in a split."""
        return sum(row.files for row in self.uses if row.name in SPLITS)


def files_section(
    images: pa.Table,
    sources: Mapping[str, str],
    rows_refused: Mapping[str, Mapping[str, int]],
    obstacles: Sequence[str],
) -> Files:
    """Of IMAGES; `sources`: survey to the format of its metadata."""
    files, made = images.filter(pc.field("first")), taken(images)
    listed = by(files.filter(pc.field("listed")), "reason")
    absent = by(files.filter(~pc.field("listed")), "reason")
    fates = [Row("taken", "would be taken", listed.pop(None, 0)), *_reasons(listed)]
    uses = _uses(made)
    told = [row for row in (*fates[1:], *_reasons(absent), *uses) if row.name not in (*PRIVATE, *SPLITS, "metadata")]
    return Files(
        surveys=[_survey(files, name, source) for name, source in sources.items()],
        fates=fates,
        absent=_reasons(absent),
        images=len(made),
        uses=uses,
        obstacles=obstacles,
        rows_refused={name: dict(Counter(counts).most_common()) for name, counts in rows_refused.items() if counts},
        advice=_advice(told, obstacles, any(rows_refused.values())),
    )


def _reasons(counts: Counter[str]) -> list[Row]:
    return [Row(name, words.reason(name).meaning, count) for name, count in counts.most_common()]


def _uses(images: pa.Table) -> list[Row]:
    """Splits in their order, then reasons; nothing where no split can be made."""
    splits, unused = by(images, "split"), by(images, "unused")
    if splits.keys() <= {None}:
        return []
    unused.pop(None, 0)
    return [Row(name, name.replace("_", " "), splits[name]) for name in SPLITS if splits[name]] + _reasons(unused)


def _survey(files: pa.Table, name: str, source: str) -> SurveyFiles:
    own = counted(files.filter(pc.field("survey") == name), "listed", "reason")
    listed = sum(count for (there, _), count in own.items() if there)
    good = own[True, None]
    return SurveyFiles(name, source.replace("_", " "), listed, good, listed - good, own.total() - listed)


def _advice(rows: Sequence[Row], obstacles: Sequence[str], refused: bool) -> list[str]:
    found = [f"A run would stop here: {text}." for text in obstacles]
    worst = sorted(rows, key=lambda row: -row.files)
    for row in [row for row in worst if words.reason(row.name).remedy][:MOST_ADVICE]:
        found.append(f"{some(row.files, 'file')} ({row.meaning}): {words.reason(row.name).remedy}")
    if refused:
        found.append(
            "Rows not taken as written: docs/formats.md says what becomes of them; correct the unexpected ones."
        )
    return found or ["Nothing: run xmodal prepare."]


@dataclass(frozen=True, kw_only=True)
class Withheld(HealthSection):
    """Counts of what nobody is shown."""

    anchor: ClassVar[str] = "withheld"
    title: ClassVar[str] = "People and closed media"
    lead: ClassVar[str] = (
        "Counts only. No such file was read for this page, and none is named, shown or counted in any other section "
        "but the first."
    )

    rows: Sequence[Row] = ()
    surveys: Mapping[str, int]
    let_in: Sequence[str] = ()
    """Kinds that the recipe takes although they are out by default."""

    @property
    def total(self) -> int:
        return sum(row.files for row in self.rows)


KINDS = {
    "human": "people, by a label or by a detector’s box",
    "vehicle": "vehicles, by a label or by a detector’s box",
    "not_public": "marked as not public by the archive",
    "copy": "unnamed copies of such files",
    "taken_down": "named on a takedown list, and copies of these",
}


def withheld_section(files: pa.Table, privacy: PrivacySettings) -> Withheld:
    """Of the files among IMAGES, listed or only named."""
    private = files.filter(pc.field("reason").isin(PRIVATE))
    kinds, down = by(private, "withheld"), by(private, "reason")["taken_down"]
    counts = {name: kinds[name] for name in KINDS} | {"taken_down": down}
    let_in = [name.replace("_", "-") for name, inside in privacy.model_dump().items() if inside]
    return Withheld(
        rows=[Row(name, KINDS[name], count) for name, count in counts.items() if count],
        surveys=dict(by(private, "survey").most_common()),
        let_in=let_in,
        advice=_privacy_advice(let_in),
    )


def _privacy_advice(let_in: Sequence[str]) -> list[str]:
    if let_in:
        return [f"The recipe lets in {', '.join(let_in)} (data.privacy): make sure that this is meant."]
    return [
        "Nothing. People whom neither a label nor a detector’s box names cannot be known here: a MegaDetector overlay "
        "finds most of them. Names inside paths are yours to keep out of what you publish."
    ]
