"""What a run has to do: every item of every survey, beside what the parent version already holds of it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pipelines.prepare import items
from pipelines.prepare.crops import crop_boxes
from pipelines.prepare.digests import digest, settings_digest
from pipelines.prepare.images import PixelReceipt, Unchanged
from pipelines.prepare.ledger import Row
from pipelines.prepare.listing import TAKEN_DOWN, SurveyListing
from pipelines.prepare.parts import LEDGER
from pipelines.prepare.settings import DataSettings
from xmodal.crops import Box
from xmodal.settings import fingerprint

Before = dict[tuple[str, str], Row]
"""The parent's ledger by survey and key."""
PASSING = ("unreadable", "host_not_allowed", "address_refused", "redirect_refused", "bad_certificate")
"""Reasons that may go while the file stays as it is: rights, networks. Such a file is tried again by every run."""


@dataclass(frozen=True)
class Item:
    """Files of one survey that make one pixel part, sorted by key."""

    identity: str
    listing: SurveyListing
    keys: list[str]
    boxes: dict[str, tuple[Box, ...]]
    """By key, of the frames that crops are cut out of."""

    @property
    def survey(self) -> str:
        return self.listing.name

    def read_with(self, data: DataSettings) -> dict[str, str]:
        """By key, 16 hex digits of the settings that decide what reading a file gives, and of its boxes."""
        whole = fingerprint({"pixels": data.pixels})
        crops = settings_digest(data.crops) if data.crops else []
        cut = {key: digest(whole, crops, boxes)[:16] for key, boxes in self.boxes.items()}
        return dict.fromkeys(self.keys, whole) | cut


@dataclass
class Held:
    """What is known of every item, from the parent or from this run: its part (None: nothing readable) and outcomes."""

    parts: dict[str, dict[str, Any] | None]
    outcomes: dict[tuple[str, str], dict[str, Any]]

    def add(self, item: Item, receipt: PixelReceipt, data: DataSettings) -> None:
        self.parts[item.identity] = receipt.part
        read_with = item.read_with(data)
        for row in receipt.outcomes.to_pylist():
            found = {"status": "rejected" if row["reason"] else "ok", "item": item.identity}
            self.outcomes[item.survey, row["key"]] = row | found | {"fingerprint": read_with[row["key"]]}


def cut_items(listing: SurveyListing, data: DataSettings) -> list[Item]:
    """The items of a survey, cut over all listed keys so that withholding a file moves no other."""
    found = []
    for group in items.cut(list(listing.entries)):
        keys = listing.taken(group)
        files = [
            (key, listing.entries[key].etag, listing.entries[key].size, listing.known.media_id(key)) for key in keys
        ]
        boxes = _boxes(listing, keys, data)
        crops = [settings_digest(data.crops), boxes] if data.crops else []
        found += [Item(items.item_id(listing.name, files, data.pixels, crops), listing, keys, boxes)] if keys else []
    return found


def _boxes(listing: SurveyListing, keys: list[str], data: DataSettings) -> dict[str, tuple[Box, ...]]:
    """By key, of the frames that have any."""
    media = listing.known.media(keys) if data.crops else {}
    found = {key: crop_boxes(medium, data.crops, data.detector_threshold) for key, medium in media.items()}
    return {key: boxes for key, boxes in found.items() if boxes}


def inherited(planned: list[Item], before: Before, parent_parts: list[dict[str, Any]], needed: Collection[str]) -> Held:
    """The items that the parent holds whole. `needed`: columns of its ledger that must not be null of an image."""
    parts = {part["item"]: part for part in parent_parts}
    held = Held({}, {})
    for item in planned:
        rows = [before.get((item.survey, key)) for key in item.keys]
        known = [row for row in rows if row and row["item"] == item.identity and _holds(row, needed)]
        readable = any(row["status"] == "ok" for row in known)
        if len(known) == len(rows) and (item.identity in parts or not readable):
            held.parts[item.identity] = parts.get(item.identity)
            held.outcomes |= {(item.survey, row["key"]): _outcome(row) for row in known}
    return held


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
    read_with = item.read_with(data)
    for key in item.keys:
        row, entry = before.get((item.survey, key)), item.listing.entries[key]
        same = row is not None and (row["etag"], row["size"], row["fingerprint"]) == (
            entry.etag,
            entry.size,
            read_with[key],
        )
        if row is None or not same or row["item"] is None or row["sha256"] is None or not _holds(row, needed):
            continue
        outcomes[key] = _outcome(row)
        sources |= {(item.survey, row["item"])} if row["status"] == "ok" else set()
    return Unchanged(outcomes, [parts[source] for source in sorted(sources)])


def _holds(row: Row, needed: Collection[str]) -> bool:
    """Whether what an earlier run found of a file stands, and is all that this one wants to know."""
    if row["status"] != "ok":
        return row["reason"] not in PASSING
    return all(row[name] is not None for name in needed)


def _outcome(row: Row) -> dict[str, Any]:
    """What was found when the file was read; what the split made of it is decided anew."""
    reason = None if row["status"] == "ok" else row["reason"]
    kept = ("key", "sha256", "magic", "exif_turn", "infrared", "look", "status", "item", "fingerprint")
    return {name: row[name] for name in kept} | {"reason": reason}


def ledger_rows(listing: SurveyListing, held: Held, clock_flags: dict[str, str | None]) -> list[Row]:
    """One row for each file listed or named by the metadata, without the stamps of the last change; `clock_flags` by
    key."""
    rows = []
    for key in sorted(listing.entries.keys() | listing.rejected.keys()):
        entry = listing.entries.get(key)
        row: Row = dict.fromkeys(LEDGER.names) | {
            "survey": listing.name,
            "key": key,
            "media_id": listing.known.media_id(key),
            "clock_flags": clock_flags.get(key),
        }
        if entry is not None:
            row |= {"etag": entry.etag, "size": entry.size, "last_modified": entry.modified}
        if (reason := listing.rejected.get(key)) is not None:
            status = "withdrawn" if reason == TAKEN_DOWN else "rejected"
            row |= {"status": status, "reason": reason, "sha256": listing.hashes.get(key)}
        else:
            outcome = held.outcomes[listing.name, key]
            row |= {name: outcome[name] for name in LEDGER.names if name in outcome}
        rows.append(row)
    return rows
