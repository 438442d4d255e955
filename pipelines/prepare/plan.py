"""What a run has to do: every item of every survey, beside what the parent version already holds of it."""

from dataclasses import dataclass
from typing import Any

from pipelines.prepare import items
from pipelines.prepare.images import PixelReceipt, Unchanged
from pipelines.prepare.ledger import Row
from pipelines.prepare.listing import TAKEN_DOWN, SurveyListing
from pipelines.prepare.parts import LEDGER
from xmodal.settings import fingerprint
from xmodal.transforms import PixelSettings

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

    @property
    def survey(self) -> str:
        return self.listing.name


@dataclass
class Held:
    """What is known of every item, from the parent or from this run: its part (None: nothing readable) and outcomes."""

    parts: dict[str, dict[str, Any] | None]
    outcomes: dict[tuple[str, str], dict[str, Any]]

    def add(self, survey: str, receipt: PixelReceipt) -> None:
        self.parts[receipt.item] = receipt.part
        for row in receipt.outcomes.to_pylist():
            status = "rejected" if row["reason"] else "ok"
            self.outcomes[survey, row["key"]] = row | {"status": status, "item": receipt.item}


def cut_items(listing: SurveyListing, pixels: PixelSettings) -> list[Item]:
    """The items of a survey, cut over all listed keys so that withholding a file moves no other."""
    found = []
    for group in items.cut(list(listing.entries)):
        keys = listing.taken(group)
        files = [
            (key, listing.entries[key].etag, listing.entries[key].size, listing.known.media_id(key)) for key in keys
        ]
        found += [Item(items.item_id(listing.name, files, pixels), listing, keys)] if keys else []
    return found


def inherited(planned: list[Item], before: Before, parent_parts: list[dict[str, Any]]) -> Held:
    """The items that the parent holds whole."""
    parts = {part["item"]: part for part in parent_parts}
    held = Held({}, {})
    for item in planned:
        rows = [before.get((item.survey, key)) for key in item.keys]
        known = [row for row in rows if row and row["item"] == item.identity and row["reason"] not in PASSING]
        readable = any(row["status"] == "ok" for row in known)
        if len(known) == len(rows) and (item.identity in parts or not readable):
            held.parts[item.identity] = parts.get(item.identity)
            held.outcomes |= {(item.survey, row["key"]): _outcome(row) for row in known}
    return held


def unchanged(
    item: Item, before: Before, parts: dict[tuple[str, str], dict[str, Any]], pixels: PixelSettings
) -> Unchanged:
    """The files of a new item that were read in other items of the parent, `before` being its ledger and `parts` its
    pixel parts by survey and item: they are copied and not read again."""
    settings = fingerprint({"pixels": pixels})
    outcomes, sources = {}, set()
    for key in item.keys:
        row, entry = before.get((item.survey, key)), item.listing.entries[key]
        same = row is not None and (row["etag"], row["size"], row["fingerprint"]) == (entry.etag, entry.size, settings)
        if row is None or not same or row["item"] is None or row["sha256"] is None:
            continue
        outcomes[key] = _outcome(row)
        sources |= {(item.survey, row["item"])} if row["status"] == "ok" else set()
    return Unchanged(outcomes, [parts[source] for source in sorted(sources)])


def _outcome(row: Row) -> dict[str, Any]:
    """What was found when the file was read; what the split made of it is decided anew."""
    reason = None if row["status"] == "ok" else row["reason"]
    kept = ("key", "sha256", "magic", "exif_turn", "infrared", "status", "item")
    return {name: row[name] for name in kept} | {"reason": reason}


def ledger_rows(
    listing: SurveyListing, held: Held, pixels: PixelSettings, clock_flags: dict[str, str | None]
) -> list[Row]:
    """One row for each file listed or named by the metadata, without the stamps of the last change; `clock_flags` by
    key."""
    settings = fingerprint({"pixels": pixels})
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
            row |= {name: outcome[name] for name in LEDGER.names if name in outcome} | {"fingerprint": settings}
        rows.append(row)
    return rows
