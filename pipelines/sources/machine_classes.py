"""What a classifier says: the classes of an image's boxes, and what they say of the image, as rows of OBSERVATIONS."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipelines.sources.joining import with_observations
from pipelines.sources.rows import Rows
from pipelines.sources.schema import OBSERVATIONS, Survey


@dataclass(frozen=True)
class MachineClass:
    """What a class says. `taxa`: rank to scientific name from the highest known down to the taxon's own."""

    type: str
    label: str
    taxa: dict[str, str]
    common: str | None

    @cached_property
    def columns(self) -> dict[str, str | None]:
        """Columns of OBSERVATIONS."""
        found: dict[str, str | None] = {"type": self.type, "label": self.label}
        if self.taxa:
            rank = next(reversed(self.taxa))
            higher = {name: taxon for name, taxon in self.taxa.items() if name != rank}
            found |= {"taxon": self.taxa[rank], "rank": rank, "lineage": json.dumps(higher) if higher else None}
        names = {"eng": self.common} if self.common else {}
        return found | {"names": json.dumps(names, ensure_ascii=False) if names else None}

    def holds(self, other: "MachineClass") -> bool:
        """Whether `other` is the same class or one below this one. A common name alone has nothing below it."""
        below = self.type == other.type and self.taxa.items() <= other.taxa.items()
        return below and (bool(self.taxa) or self.common in (None, other.common))


SILENT = ("blank", "unknown", "unclassified")
"""Types that say nothing beside a named one."""
Scored = tuple[MachineClass, float | None]
"""A class and its score from 0 to 1; null = none stated."""


def score(scored: Scored) -> float:
    """For comparisons."""
    return scored[1] or 0


def box_taxon(scored: Scored) -> dict[str, Any]:
    """What RECORDS say of the class of a box."""
    columns = scored[0].columns
    return {name: columns.get(name) for name in ("type", "label", "taxon", "rank")} | {"confidence": scored[1]}


def summary(found: Sequence[Scored]) -> list[Scored]:
    """What the classes of an image's boxes say of the image: each class once, with its best score.

    A class that another one narrows says nothing more, and neither do blank or unknown boxes beside a named one. An
    image with an unknown box is not blank; one of blank boxes is as surely blank as the least sure of them.
    """
    named = [one for one in found if one[0].type not in SILENT]
    if not named:
        unknown = [one for one in found if one[0].type != "blank"]
        return sorted(unknown, key=score)[-1:] or sorted(found, key=score)[:1]
    kept: list[Scored] = []
    for one, sure in sorted(named, key=_narrowest):
        if not any(one.holds(other) for other, _ in kept):
            kept.append((one, sure))
    return kept


def _narrowest(scored: Scored) -> tuple[int, bool, float]:
    one, _ = scored
    return -len(one.taxa), one.common is None, -score(scored)


class Labels:
    """What a classifier says of a survey's media, in the making."""

    def __init__(self, survey: Survey, origin: str) -> None:
        self._origin = origin
        self._media = survey.media
        self._named: set[str] = set()
        self._rows = Rows(OBSERVATIONS)

    @cached_property
    def _ids(self) -> dict[str, str]:
        keys, ids = (self._media[name].to_pylist() for name in ("key", "media_id"))
        return dict(zip(keys, ids, strict=True))

    def add(self, key: str, found: Sequence[Scored]) -> None:
        """Of one medium, by its key; of classes that say nothing of it too, so that what an earlier file said goes."""
        self._named.add(self._ids[key])
        for one, sure in summary(found):
            about = {"media_id": self._ids[key], "level": "media", "confidence": sure}
            self._rows.add(**about, method="machine", origin=self._origin, **one.columns)

    def laid_over(self, survey: Survey) -> Survey:
        """`survey` with these labels in place of what the same origin said of these media."""
        if not self._named:
            return survey
        return with_observations(survey, self._rows.table(), self._origin, self._named)
