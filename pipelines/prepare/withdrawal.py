"""Withdrawn files: what takedown lists name, and every copy of it.

A file is withdrawn where a list names its key or media id, where its bytes have a SHA-256 that a list names or that a
withdrawn file had, or where it has the etag and size of a withdrawn file of its survey, its etag is of the content (on
S3 and in zips, SurveyListing.copies) and its bytes are not known to differ. The ledger remembers: bytes once withdrawn
stay so under any key, also when their line goes from the list. Withdrawn files are not read. One whose bytes nobody
knew is found out by reading it; its item is then made again without it.

Ledger rows have the reason TAKEN_DOWN and the status `withdrawn`, or `gone` where the archive no longer has the file.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.prepare.before import Before
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import NONE, each, mask
from pipelines.prepare.ledger import Ledger, Row
from pipelines.prepare.listing import TAKEN_DOWN, SurveyListing, named_by
from pipelines.prepare.plan import Held, Item
from pipelines.sources.schema import TakenDown

Name = tuple[str, str]
"""Survey and key."""
MOST_NAMED = 5
"""Entries that match nothing, of those that are named."""
_EMPTY = hashlib.sha256(b"").digest()
"""Of all empty files: it tells none apart."""


@dataclass(frozen=True)
class Withdrawn:
    """What may not be in the version that is made: bytes by their hash, and the parent's ledger rows by name."""

    hashes: frozenset[bytes]
    old: frozenset[Name]


def withdraw(listings: Sequence[SurveyListing], before: Before) -> Withdrawn:
    """Marks every listed file that is known to be withdrawn before anything is read."""
    listed = {bytes.fromhex(name) for one in listings for name in one.named.hashes}
    named = {listing.name: listing.named for listing in listings}
    down = {survey: _named(rows, named.get(survey, TakenDown())) for survey, rows in before.tables.items()}
    known = {sha256 for survey, among in down.items() for sha256 in _of(before, survey, among, "sha256")}
    hashes = frozenset((listed | known) - {None, _EMPTY})
    old = {survey: among | _with_bytes(before.rows(survey), hashes) for survey, among in down.items()}
    for listing in listings:
        _mark(listing, before, old.get(listing.name, np.zeros(0, bool)))
    return Withdrawn(
        hashes, frozenset((survey, key) for survey in old for key in _of(before, survey, old[survey], "key"))
    )


def _of(before: Before, survey: str, among: np.ndarray, column: str) -> list[Any]:
    return before.rows(survey)[column].filter(pa.array(among)).to_pylist()


def _named(rows: pa.Table, named: TakenDown) -> np.ndarray:
    """bool (rows,): those that were withdrawn before, or whose key or media id is `named`."""
    before = mask(pc.equal(rows["reason"], TAKEN_DOWN).fill_null(False))
    return before | named_by(named, rows["key"], rows["media_id"])


def _with_bytes(rows: pa.Table, hashes: frozenset[bytes]) -> np.ndarray:
    """bool (rows,): those of bytes with one of `hashes`."""
    return mask(pc.is_in(rows["sha256"], value_set=pa.array(sorted(hashes), pa.binary(32))))


def _mark(listing: SurveyListing, before: Before, old: np.ndarray) -> None:
    """Gives files the reason TAKEN_DOWN, and keeps what the ledger knew of their bytes. `old`: bool, the parent's rows
    that are withdrawn."""
    files, own = listing.files, before.rows(listing.name).filter(pa.array(old)).to_pylist()
    same = [place for row in own if (place := files.position(row["key"])) != NONE and _is_still(row, listing, place)]
    _withdraw(listing, np.array(same, int))
    marks = set(files.marks(np.flatnonzero(_down(listing))).to_pylist()) | {_mark_of(row) for row in own}
    _withdraw(listing, _unknown_copies(listing, before, {mark for mark in marks if mark is not None}))
    down = np.flatnonzero(_down(listing))
    rows = before.of(listing.name, files, down).select(["key", "sha256"])
    known = zip(down.tolist(), each(rows, rows.column_names), strict=True)
    listing.hashes.update({place: sha256 for place, (key, sha256) in known if key is not None})


def _down(listing: SurveyListing) -> np.ndarray:
    return listing.why == TAKEN_DOWN


def _withdraw(listing: SurveyListing, places: np.ndarray) -> None:
    listing.why[np.setdiff1d(places, listing.files.positions(listing.metadata))] = TAKEN_DOWN


def _is_still(row: Row, listing: SurveyListing, place: int) -> bool:
    """Whether what stands under the key of a withdrawn row is that file: the same bytes, or nothing. One that was never
    read is known by its key alone."""
    mark = listing.files.marks(np.array([place]))[0].as_py()
    return mark is None or row["sha256"] is None or _mark_of(row) == mark


def _mark_of(row: Row) -> str | None:
    """As Catalogue.marks has it."""
    return None if row["etag"] is None else f"{row['size']} {row['etag']}"


def _unknown_copies(listing: SurveyListing, before: Before, marks: set[str]) -> np.ndarray:
    """Positions of the copies of files with `marks`, but for those whose bytes are known to differ."""
    if not marks:
        return np.zeros(0, int)
    files = listing.files
    places = listing.copies(pa.array(sorted(marks)), np.ones(len(files), bool))
    rows = before.of(listing.name, files, places).select(["etag", "size", "sha256"]).to_pylist()
    now = files.marks(places).to_pylist()
    unknown = [row["sha256"] is None or _mark_of(row) != mark for row, mark in zip(rows, now, strict=True)]
    return places[np.array(unknown, bool)]


def found_by_reading(planned: Iterable[Item], held: Held, withdrawn: Withdrawn) -> bool:
    """Marks the files whose bytes, now that they were read, are withdrawn ones; whether there was any."""
    found = False
    for item in planned if withdrawn.hashes else ():
        hashes = held.outcomes[item.identity]["sha256"]
        down = np.flatnonzero(_with_bytes(held.outcomes[item.identity], withdrawn.hashes))
        places = item.files[down].tolist()
        item.listing.why[places] = TAKEN_DOWN
        item.listing.hashes.update(zip(places, hashes.take(pa.array(down)).to_pylist(), strict=True))
        found |= len(places) > 0
    return found


def count_unmatched(listings: Iterable[SurveyListing], ledger: Ledger) -> list[str]:
    """Counts as no_such_media the entries of lists that no withdrawn row of the ledger answers to; a warning for each
    survey with such entries, since what they mean may still be in."""
    told = []
    down = {survey: _names(_withdrawn(rows)) for survey, rows in ledger.items()}
    hashes = TakenDown.union(down.values()).hashes
    for listing in listings:
        survey, own = listing.known.survey, down.get(listing.name, TakenDown())
        own = replace(own, hashes=hashes)
        unmatched = [entry for entry in survey.takedown if not entry.meets(own)]
        survey.refused.counts.update({"no_such_media": len(unmatched)} if unmatched else {})
        told += _told_of(listing, unmatched, "match no file, so nothing leaves for them")
    return told


def unlisted(listing: SurveyListing) -> list[str]:
    """A line where entries of a survey's lists name no file of its listing; those with a hash are not
    asked, since reading alone can tell."""
    down = np.flatnonzero(_down(listing))
    own = TakenDown(frozenset(listing.files.keys_of(down)), frozenset(listing.known.ids_of(down)))
    unmatched = [entry for entry in listing.known.survey.takedown if not (entry.hashes or entry.meets(own))]
    return _told_of(listing, unmatched, "name no file that is listed or named by metadata")


def _told_of(listing: SurveyListing, unmatched: Sequence[TakenDown], what: str) -> list[str]:
    """A line that names some of them, where there are any."""
    examples = [repr(entry.written[:80]) for entry in unmatched[:MOST_NAMED]]
    examples += ["..."] if len(unmatched) > MOST_NAMED else []
    how = "a key is the file's whole path in the archive, as the ledger has it"
    told = f"{listing.name}: {len(unmatched):,} takedown entries {what}: {', '.join(examples)}; {how}"
    return [told] if unmatched else []


def _names(rows: pa.Table) -> TakenDown:
    """Of ledger rows."""
    keys, media_ids, hashes = (set(rows[name].drop_null().to_pylist()) for name in ("key", "media_id", "sha256"))
    return TakenDown(frozenset(keys), frozenset(media_ids), frozenset(one.hex() for one in hashes))


def _withdrawn(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["reason"], TAKEN_DOWN))


def told(ledger: Ledger, before: Before, earlier: Sequence[Row], version: int) -> list[dict[str, Any]]:
    """What the version document says: `earlier` (the parent's entries) and one entry for each survey with files that
    were withdrawn since: {"version", "survey", "files", "items"}, where `items` are the parent's that held them."""
    new = {survey: _new(survey, _withdrawn(rows), before) for survey, rows in sorted(ledger.items())}
    return [
        *earlier,
        *(
            {"version": version, "survey": survey, "files": len(held), "items": sorted({item for item in held if item})}
            for survey, held in new.items()
            if held
        ),
    ]


def _new(survey: str, rows: pa.Table, before: Before) -> list[str | None]:
    """Of the withdrawn files that the parent had not withdrawn, the items that held them."""
    old = before.taken(survey, before.named(survey, rows["key"]))
    return [item for item, reason in each(old, ("item", "reason")) if reason != TAKEN_DOWN]
