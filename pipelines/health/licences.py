"""Under which licences the frames stand."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa

from pipelines.health.counting import by, some, taken
from pipelines.health.section import HealthSection
from pipelines.licences import is_non_commercial

MOST = 40


@dataclass(frozen=True)
class Licence:
    """`name` None = not stated."""

    name: str | None
    files: int

    @property
    def non_commercial(self) -> bool:
        return is_non_commercial(self.name)


@dataclass(frozen=True, kw_only=True)
class Licences(HealthSection):
    """Licences of the files that would be taken."""

    anchor: ClassVar[str] = "licences"
    title: ClassVar[str] = "Licences"
    lead: ClassVar[str] = (
        "As the archive states them, file by file. What is not stated is not free: ask whoever holds the rights."
    )

    rows: Sequence[Licence] = ()

    @property
    def files(self) -> int:
        return sum(row.files for row in self.rows)

    @property
    def non_commercial(self) -> int:
        return sum(row.files for row in self.rows if row.non_commercial)

    @property
    def unknown(self) -> int:
        return sum(row.files for row in self.rows if row.name is None)

    @property
    def shown(self) -> Sequence[Licence]:
        return self.rows[:MOST]


def licences_section(files: pa.Table) -> Licences:
    """Of the files among IMAGES."""
    counts = by(taken(files), "licence")
    order = sorted(counts.items(), key=lambda one: (-one[1], one[0] or ""))
    rows = [Licence(name, count) for name, count in order]
    section = Licences(rows=rows)
    return replace(section, advice=_advice(section.non_commercial, section.unknown))


def _advice(non_commercial: int, unknown: int) -> list[str]:
    found = []
    if non_commercial:
        bound = f"{some(non_commercial, 'file')} may not be used commercially"
        found.append(f"{bound}: a model trained on them should not be either.")
    if unknown:
        bare = f"{some(unknown, 'file')} without a licence"
        found.append(f"{bare}: settle it with the rights holders before a model is passed on, and write it down.")
    return found or ["Nothing: every file states its licence. Name them where you publish the model."]
