"""What a run has to do: every item of every survey, beside what the parent version already holds of it."""

from collections.abc import Collection, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.prepare import items
from pipelines.prepare.before import Before
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import MANY, NONE, at, mask, rows_at, taken
from pipelines.prepare.cuts import boxes, read_with
from pipelines.prepare.digests import settings_digest
from pipelines.prepare.images import PixelReceipt, Unchanged
from pipelines.prepare.kept_events import NO_EVENT
from pipelines.prepare.listing import TAKEN_DOWN, SurveyListing
from pipelines.prepare.parts import LEDGER
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.spill import Kept, spilled

PASSING = ("unreadable", "unreachable", "host_not_allowed", "address_refused", "redirect_refused", "bad_certificate")
"""Reasons that may go while the file stays as it is: rights, networks. Such a file is tried again by every run."""
FOUND = ("reason", "sha256", "magic", "exif_turn", "infrared", "look", "size_differs")
"""What reading a file told, of the columns of LEDGER."""


@dataclass(frozen=True)
class Item:
    """Files of one survey that make one pixel part: their positions in its catalogue, rising."""

    identity: str
    listing: SurveyListing
    files: np.ndarray

    @property
    def survey(self) -> str:
        return self.listing.name

    @property
    def keys(self) -> list[str]:
        return self.listing.files.keys_of(self.files)


@dataclass
class Held:
    """What is known of every item, from the parent or from this run: its part (None: nothing readable), and FOUND of
    its files in their order."""

    parts: dict[str, dict[str, Any] | None]
    outcomes: MutableMapping[str, pa.Table]

    def add(self, receipt: PixelReceipt) -> None:
        self.parts[receipt.item] = receipt.part
        self.outcomes[receipt.item] = _found(receipt.outcomes)

    def ok(self, item: Item) -> np.ndarray:
        """Positions of the item's images."""
        return item.files[mask(self.outcomes[item.identity]["reason"].is_null())]


def _found(table: pa.Table) -> pa.Table:
    return table.select([name for name in FOUND if name in table.column_names])


def cut_items(listing: SurveyListing, data: DataSettings) -> list[Item]:
    """The items of a survey, cut over all its listed files so that withholding one moves no other."""
    listed, taken = np.flatnonzero(listing.files.listed), listing.taken
    keys = listing.files.keys.filter(pa.array(listing.files.listed))
    groups = (listed[group].astype(np.int32) for group in items.cut(keys))
    own = (group[taken[group]] for group in groups)
    return [Item(_identity(listing, files, data), listing, files) for files in own if len(files)]


def _identity(listing: SurveyListing, files: np.ndarray, data: DataSettings) -> str:
    rows = taken(listing.files.table.select(["key", "etag", "size"]), files).to_pydict().values()
    ids = listing.known.ids_of(files)
    crops = [settings_digest(data.crops), boxes(listing, files, data)] if data.crops else []
    return items.item_id(listing.name, list(zip(*rows, ids, strict=True)), data.pixels, crops)


def inherited(
    planned: Iterable[Item], before: Before, parent_parts: list[dict[str, Any]], needed: Collection[str]
) -> Held:
    """The items that the parent holds whole. `needed`: columns of its ledger that must not be null of an image."""
    parts = {part["item"]: part for part in parent_parts}
    held, names = Held({}, Kept()), tuple(dict.fromkeys(("item", "status", *FOUND, *needed)))
    for item in planned:
        rows = before.of(item.survey, item.listing.files, item.files, names)
        known = mask(pc.equal(rows["item"], item.identity))
        ok = pc.equal(rows["status"], "ok").fill_null(False)
        if (known & _holds(rows, mask(ok), needed)).all() and (item.identity in parts or not mask(ok).any()):
            held.parts[item.identity] = parts.get(item.identity)
            held.outcomes[item.identity] = _found(_without_split(rows, ok))
    return held


def _without_split(rows: pa.Table, ok: pa.ChunkedArray) -> pa.Table:
    """What was found when the files were read; what the split made of images is decided anew."""
    reasons = pc.if_else(ok, pa.scalar(None, pa.string()), rows["reason"])
    return rows.set_column(rows.column_names.index("reason"), "reason", reasons)


def unchanged(
    item: Item,
    before: Before,
    parts: dict[tuple[str, str], dict[str, Any]],
    data: DataSettings,
    needed: Collection[str],
) -> Unchanged:
    """The files of a new item that were read in other items of the parent, `before` being its ledger and `parts` its
    pixel parts by survey and item: they are copied and not read again."""
    outcomes, sources = {}, set()
    rows = before.of(item.survey, item.listing.files, item.files)
    holds = _holds(rows, mask(pc.equal(rows["status"], "ok")), needed).tolist()
    entries, asked = item.listing.files.entries(item.files), read_with(item.listing, item.files, data)
    for row, entry, held, settings in zip(rows.to_pylist(), entries, holds, asked, strict=True):
        same = (row["etag"], row["size"], row["fingerprint"]) == (entry.etag, entry.size, settings)
        if not (same and held) or row["item"] is None or row["sha256"] is None:
            continue
        outcomes[entry.key] = _outcome(row)
        sources |= {(item.survey, row["item"])} if row["status"] == "ok" else set()
    return Unchanged(outcomes, [parts[source] for source in sorted(sources)])


def _holds(rows: pa.Table, ok: np.ndarray, needed: Collection[str]) -> np.ndarray:
    """bool (rows,): whether what an earlier run found of a file stands, and is all that this one wants to know."""
    lacking = [mask(rows[name].is_null()) for name in needed]
    passing = mask(pc.is_in(rows["reason"], value_set=pa.array(PASSING)))
    return np.where(ok, ~np.any([np.zeros(len(rows), bool), *lacking], axis=0), ~passing)


def _outcome(row: dict[str, Any]) -> dict[str, Any]:
    """What was found when the file was read; what the split made of it is decided anew."""
    reason = None if row["status"] == "ok" else row["reason"]
    return {name: row[name] for name in ("key", *FOUND)} | {"reason": reason}


def ledger_rows(
    listing: SurveyListing, planned: Sequence[Item], held: Held, data: DataSettings, clock_flags: np.ndarray
) -> pa.Table:
    """LEDGER rows of all files of a survey, sorted by key, without the stamps of the last change; `planned` are its
    items, and `clock_flags` (media,) as `clock_flags.clock_flags` gives them."""
    count = len(listing.files)
    item, row = np.full((2, count), NONE, np.int32)
    for number, own in enumerate(planned):
        item[own.files] = number
    order = np.concatenate([np.empty(0, np.int32), *(own.files for own in planned)])
    row[order] = np.arange(len(order), dtype=np.int32)
    found = pa.schema([field for field in LEDGER if field.name in FOUND])
    outcomes = spilled(_outcomes(planned, held, found.names), found)
    names = pa.array([own.identity for own in planned], pa.string())

    def rows(start: int) -> pa.RecordBatch:
        span = slice(start, start + MANY)
        read = taken(outcomes, row[span])
        columns = {
            "item": names.take(rows_at(item[span])),
            "clock_flags": pa.array(at(clock_flags, listing.files.media[span], None), pa.string()),
        }
        told = _told(listing, span, read, data)
        return _batch(_listed(listing, span) | columns | told | {"event": _events(listing, span, told["reason"])})

    return spilled(map(rows, range(0, count, MANY)), LEDGER)


def _outcomes(planned: Iterable[Item], held: Held, names: list[str]) -> Iterator[pa.RecordBatch]:
    """What was found of the files of items, one after the other."""
    for own in planned:
        yield from held.outcomes[own.identity].select(names).combine_chunks().to_batches()


def _listed(listing: SurveyListing, span: slice) -> dict[str, Any]:
    """What the listing says of some files, of the columns of LEDGER."""
    table = listing.files.table.slice(span.start, span.stop - span.start)
    ids = listing.known.media_ids.slice(span.start, span.stop - span.start)
    survey = pa.repeat(pa.scalar(listing.name), len(table))
    listed = {name: table[name] for name in ("key", "etag", "size")}
    return listed | {"survey": survey, "media_id": ids, "last_modified": table["modified"]}


def _told(listing: SurveyListing, span: slice, read: pa.Table, data: DataSettings) -> dict[str, Any]:
    """What became of some files: as they were read, or why they were not."""
    why = pa.array(listing.why[span], pa.string())
    reason, taken = pc.coalesce(read["reason"], why), why.is_null()
    not_taken = pc.if_else(pc.equal(why, TAKEN_DOWN).fill_null(False), "withdrawn", "rejected")
    status = pc.if_else(reason.is_null(), "ok", not_taken)
    hashes = pa.array([listing.hashes.get(place) for place in range(span.start, span.start + len(why))], pa.binary(32))
    columns = {name: read[name] for name in read.column_names}
    columns |= {"reason": reason, "status": status, "sha256": pc.coalesce(read["sha256"], hashes)}
    settings = pa.array(read_with(listing, np.arange(span.start, span.start + len(why)), data), pa.string())
    return columns | {"fingerprint": pc.if_else(taken, settings, pa.scalar(None, pa.string()))}


def _events(listing: SurveyListing, span: slice, reason: pa.Array) -> pa.Array:
    """The events of those that are images, and of those that may be another time."""
    own = taken(listing.known.survey.media.select(["event_id"]), listing.files.media[span])["event_id"]
    kept = pc.or_(reason.is_null(), pc.is_in(reason, value_set=pa.array(PASSING)))
    return pc.if_else(kept, own.fill_null(NO_EVENT), pa.scalar(None, pa.string()))


def _batch(columns: dict[str, Any]) -> pa.RecordBatch:
    rows = len(columns["key"])
    every = {field.name: columns.get(field.name, pa.nulls(rows, field.type)) for field in LEDGER}
    return pa.table(every, LEDGER).combine_chunks().to_batches()[0]
