"""Withdrawn files: what takedown lists name, and every copy of it.

A file is withdrawn where a list names its key or media id, where its bytes have a SHA-256 that a list names or that a
withdrawn file had, or where it has the etag and size of a withdrawn file of its survey and its bytes are not known to
differ (on S3 an etag is of the content). The ledger remembers: bytes once withdrawn stay so under any key, also when
their line goes from the list. Withdrawn files are not read. One whose bytes nobody knew is found out by reading it; its
item is then made again without it.

Ledger rows have the reason TAKEN_DOWN and the status `withdrawn`, or `gone` where the archive no longer has the file.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.prepare.ledger import Row
from pipelines.prepare.listing import TAKEN_DOWN, SurveyListing
from pipelines.prepare.plan import Held
from pipelines.sources.archive import ArchiveEntry

Name = tuple[str, str]
"""Survey and key."""
_EMPTY = hashlib.sha256(b"").digest()
"""Of all empty files: it tells none apart."""


@dataclass(frozen=True)
class Withdrawn:
    """What may not be in the version that is made: bytes by their hash, and the parent's ledger rows by name."""

    hashes: frozenset[bytes]
    old: frozenset[Name]


def withdraw(listings: Sequence[SurveyListing], before: Mapping[Name, Row]) -> Withdrawn:
    """Marks every listed file that is known to be withdrawn before anything is read."""
    listed = {bytes.fromhex(name) for one in listings for name in one.named if _is_hash(name)}
    named = {listing.name: listing.named for listing in listings}
    down = {name for name, row in before.items() if row["reason"] == TAKEN_DOWN or _names(named, row)}
    hashes = (listed | {before[name]["sha256"] for name in down}) - {None, _EMPTY}
    old = down | {name for name, row in before.items() if row["sha256"] in hashes} if hashes else down
    for listing in listings:
        _mark(listing, before, old)
    return Withdrawn(frozenset(hashes), frozenset(old))


def _names(named: Mapping[str, frozenset[str]], row: Row) -> bool:
    own = named.get(row["survey"], frozenset())
    return row["key"] in own or row["media_id"] in own


def _mark(listing: SurveyListing, before: Mapping[Name, Row], old: set[Name]) -> None:
    """Gives files the reason TAKEN_DOWN, and keeps what the ledger knew of their bytes."""
    own = {name[1]: before[name] for name in old if name[0] == listing.name}
    known = {key for key, row in own.items() if _is_still(row, listing.entries.get(key))}
    _withdraw(listing, known & (listing.entries.keys() | listing.rejected.keys()))
    down = [key for key, reason in listing.rejected.items() if reason == TAKEN_DOWN]
    marks = {_mark_of(listing.entries[key]) for key in down if key in listing.entries}
    marks |= {(row["etag"], row["size"]) for row in own.values()}
    alike = {key for key, entry in listing.entries.items() if entry.size and _mark_of(entry) in marks}
    _withdraw(listing, {key for key in alike if not _has_known_bytes(listing, key, before)})
    down = [key for key, reason in listing.rejected.items() if reason == TAKEN_DOWN]
    rows = {key: before.get((listing.name, key)) for key in down}
    listing.hashes.update({key: row["sha256"] for key, row in rows.items() if row is not None})


def _withdraw(listing: SurveyListing, keys: set[str]) -> None:
    listing.rejected |= dict.fromkeys(sorted(keys - listing.metadata), TAKEN_DOWN)


def _is_still(row: Row, entry: ArchiveEntry | None) -> bool:
    """Whether what stands under the key of a withdrawn row is that file: the same bytes, or nothing. One that was never
    read is known by its key alone."""
    return entry is None or row["sha256"] is None or (row["etag"], row["size"]) == _mark_of(entry)


def _has_known_bytes(listing: SurveyListing, key: str, before: Mapping[Name, Row]) -> bool:
    row = before.get((listing.name, key))
    same = row is not None and (row["etag"], row["size"]) == _mark_of(listing.entries[key])
    return same and row is not None and row["sha256"] is not None


def _mark_of(entry: ArchiveEntry) -> tuple[str, int]:
    return entry.etag, entry.size


def found_by_reading(listings: Iterable[SurveyListing], held: Held, withdrawn: Withdrawn) -> bool:
    """Marks the files whose bytes, now that they were read, are withdrawn ones; whether there was any."""
    found = False
    for listing in listings:
        for key in listing.taken(listing.entries) if withdrawn.hashes else ():
            sha256 = held.outcomes[listing.name, key]["sha256"]
            if sha256 in withdrawn.hashes:
                listing.rejected[key], listing.hashes[key] = TAKEN_DOWN, sha256
                found = True
    return found


def count_unmatched(listings: Iterable[SurveyListing], rows: Iterable[Row]) -> None:
    """Counts as no_such_media the entries of lists that no withdrawn row of the ledger answers to."""
    names = dict[str, set[str]]()
    hashes = set[str]()
    for row in (row for row in rows if row["reason"] == TAKEN_DOWN):
        names.setdefault(row["survey"], set()).update({row["key"], row["media_id"]})
        hashes |= {row["sha256"].hex()} if row["sha256"] else set()
    for listing in listings:
        survey = listing.known.survey
        for entry in survey.takedown:
            if not entry & (names.get(listing.name, set()) | hashes):
                survey.refused.add("no_such_media", f"takedown: {', '.join(sorted(entry)):.80}")


def told(rows: Iterable[Row], before: Mapping[Name, Row], earlier: Sequence[Row], version: int) -> list[dict[str, Any]]:
    """What the version document says: `earlier` (the parent's entries) and one entry for each survey with files that
    were withdrawn since: {"version", "survey", "files", "items"}, where `items` are the parent's that held them."""
    new: dict[str, list[Row]] = {}
    for row in (row for row in rows if row["reason"] == TAKEN_DOWN):
        old = before.get((row["survey"], row["key"]), {})
        if old.get("reason") != TAKEN_DOWN:
            new.setdefault(row["survey"], []).append(old)
    return [
        *earlier,
        *(
            {
                "version": version,
                "survey": survey,
                "files": len(olds),
                "items": sorted({old["item"] for old in olds if old.get("item")}),
            }
            for survey, olds in sorted(new.items())
        ),
    ]


def _is_hash(name: str) -> bool:
    return len(name) == 64 and all(digit in "0123456789abcdef" for digit in name)
