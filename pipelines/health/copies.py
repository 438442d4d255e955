"""The same picture more than once: by its bytes where they are known, else by what the listing tells."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.health.counting import by, some, taken
from pipelines.health.section import HealthSection
from xmodal.metrics.intervals import Interval, wilson

MOST = 12


@dataclass(frozen=True)
class Group:
    """Files with the same content; `place` of each, None where it is not known."""

    files: Sequence[tuple[str, str | None]]
    """Path and place."""

    @property
    def places(self) -> int:
        """Different known places."""
        return len({place for _, place in self.files if place is not None})


@dataclass(frozen=True)
class Kind:
    """Groups found by one means among `files` files."""

    files: int
    within: Sequence[Group]
    """Of one place, or without one."""
    across: Sequence[Group]

    @property
    def extra(self) -> int:
        """Files beyond the first of each group."""
        return sum(len(group.files) - 1 for group in (*self.within, *self.across))


@dataclass(frozen=True, kw_only=True)
class Copies(HealthSection):
    """Copies within a place and across places."""

    anchor: ClassVar[str] = "copies"
    title: ClassVar[str] = "Copies"
    lead: ClassVar[str] = (
        "The same frame at two places would let a model be tested on what it was trained on. Prepare keeps one such "
        "frame in one split and leaves the others out; which place is the true one only you can tell."
    )

    by_bytes: Kind
    """Equal SHA-256, of the files whose bytes are known."""
    by_listing: Kind
    """Equal etag and size, of files whose etag is of the content."""
    unread: int
    """Files whose bytes are not known."""
    compared: int
    """Drawn files that were compared with all of their size; `copied` of them have a copy."""
    copied: int

    @property
    def interval(self) -> Interval | None:
        """Of the share of files that have a copy; None where all bytes are known, or none were compared."""
        return wilson(self.copied, self.compared) if self.unread else None

    @property
    def shown(self) -> Sequence[Group]:
        """Groups across places, those known by their bytes first."""
        known = {group.files for group in self.by_bytes.across}
        return [*self.by_bytes.across, *(one for one in self.by_listing.across if one.files not in known)][:MOST]


def copies_section(files: pa.Table) -> Copies:
    """Of those files among IMAGES that would be taken. Empty files are no copies of each other."""
    own = taken(files)
    good = own.filter(pc.field("sha256").is_valid() & pc.field("bad").is_null())
    marked = own.filter(pc.field("mark").is_valid() & (pc.field("size") > 0))
    by_bytes, by_listing = _kind(good, "sha256"), _kind(marked, "mark")
    unread = own["sha256"].null_count
    compared, files_of = good.filter(pc.field("compared"))["sha256"].to_pylist(), by(good, "sha256")
    return Copies(
        by_bytes=by_bytes,
        by_listing=by_listing,
        unread=unread,
        compared=len(compared),
        copied=sum(files_of[one] > 1 for one in compared),
        advice=_advice(by_bytes, by_listing, unread),
    )


def _kind(files: pa.Table, column: str) -> Kind:
    counts = files.group_by(column).aggregate([([], "count_all")])
    twice = counts.filter(pc.field("count_all") > 1)[column]
    some_files = files.filter(pc.is_in(files[column], twice))  # pyright: ignore[reportAttributeAccessIssue]
    groups = defaultdict[object, list[tuple[str, str | None]]](list)
    for value, key, place in zip(*(some_files[name].to_pylist() for name in (column, "key", "place")), strict=True):
        groups[value].append((key, place))
    found = sorted((Group(tuple(one)) for one in groups.values()), key=lambda one: (-len(one.files), one.files[0][0]))
    return Kind(len(files), [one for one in found if one.places < 2], [one for one in found if one.places > 1])


def _advice(by_bytes: Kind, by_listing: Kind, unread: int) -> list[str]:
    found = []
    across = max(len(by_bytes.across), len(by_listing.across))
    within = max(len(by_bytes.within), len(by_listing.within))
    if across:
        found.append(
            f"{some(across, 'picture')} at several places: find out where each was taken, delete it elsewhere."
        )
    if within:
        twice = f"{some(within, 'picture')} more than once at one place"
        found.append(f"{twice}: harmless for splits; delete the copies to count each animal once.")
    if unread:
        found.append("Not every copy is known yet: prepare compares the bytes of all files.")
    return found or ["Nothing: no two files are the same."]
