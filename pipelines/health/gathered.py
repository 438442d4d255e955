"""One table of every file: what a run would do with it, by listing, ledger, sample, clocks and the recipe's split.

This is the only place that knows how prepare plans; the sections count rows of FILES. No image is written, and no store
is changed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.errors import DataRefused
from pipelines.health.sample import SEED, UNKNOWN, Outcomes, alike, drawn, hashed, known_before, read
from pipelines.prepare import cameras, event_labels, flow
from pipelines.prepare.assigned import Assigned
from pipelines.prepare.clock_flags import clock_flags
from pipelines.prepare.clocks import trusts
from pipelines.prepare.columns import at, rows_at
from pipelines.prepare.digests import digest, share
from pipelines.prepare.facts import Medium, facts
from pipelines.prepare.items import sample_id
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.placed import placed
from pipelines.prepare.plan import Held, Item
from pipelines.prepare.run import Run
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.splits import assign, check_counts
from pipelines.prepare.units import place_hash
from pipelines.prepare.withdrawal import withdraw
from pipelines.sources.rows import Rows

FILES = pa.schema(
    [
        ("survey", pa.string()),
        ("key", pa.string()),
        ("listed", pa.bool_()),  # False = the metadata name it and the archive lacks it
        ("size", pa.int64()),
        ("mark", pa.string()),  # etag and size; null = not listed
        ("reason", pa.string()),  # why it would not be taken, by listing or ledger; null = it would
        ("withheld", pa.string()),  # not_public | human | vehicle | copy, of withheld files
        ("place", pa.string()),  # 8 hex digits; null = unknown
        ("camera", pa.string()),  # 8 hex digits; null = no metadata name the file
        ("month", pa.string()),  # YYYY-MM of the time written; null = none
        ("clock_flags", pa.string()),  # a|b as in the ledger
        ("kind", pa.string()),  # animal | human | vehicle | blank | captioned; null = no label reaches it
        ("label", pa.string()),  # of an animal: the name of its taxon; null = not known
        ("rank", pa.string()),
        ("name", pa.string()),  # a common name of it
        ("split", pa.string()),  # as in RECORDS; null = not taken, or no split can be made
        ("unused", pa.string()),  # why it would be in no split
        ("licence", pa.string()),
        ("read", pa.string()),  # before (ledger) | now (sample) | hashed (as large as a drawn one); null = not read
        ("compared", pa.bool_()),  # True = drawn, and compared with every file of its size
        ("bad", pa.string()),  # why its bytes gave no image
        ("sha256", pa.binary(32)),
        ("magic", pa.string()),
    ]
)
ID = 8
"""Hex digits of the ids of places and cameras on the page: the first ones of those that records hold."""
BATCH = 8192


@dataclass(frozen=True)
class Gathered:
    """What the page is made from."""

    files: pa.Table
    """FILES."""
    obstacles: tuple[str, ...]
    """What a run would end with, in its own words."""


def gather(run: Run, sample: int, seed: int = SEED) -> Gathered:
    """Reads at most `sample` files whose bytes no ledger knows, and hashes as many again to find their copies."""
    withdraw(run.listings, run.before)
    before = known_before(run)
    now = read(run, drawn(run.listings, before, sample, seed))
    twins = alike(run.listings, sorted(now), before.keys() | now.keys(), sample)
    others = hashed(run, twins.others)
    outcomes = before | now | others
    clocks = _clocks(run, outcomes)
    splits, obstacles = proposed(run, before, outcomes, clocks)
    rows = Rows(FILES)
    with run.progress("health", total=sum(len(one.files) for one in run.listings), unit="files") as progress:
        for listing in run.listings:
            for row, media_id in _files(listing, run.data, clocks[listing.name]):
                name = (listing.name, row["key"])
                when = "now" if name in now else "hashed" if name in others else "before"
                row |= _of_bytes(outcomes.get(name), when) | {"compared": name in twins.compared}
                rows.add(**row | _of_split(row, splits.get(name), sample_id(listing.name, media_id), run.data))
                progress.update(len(rows))
    files = rows.table()
    return Gathered(files, (*obstacles, *_empty_splits(files, run.data, obstacles)))


def _clocks(run: Run, outcomes: Outcomes) -> dict[str, np.ndarray]:
    """The flags of all files of every survey, str or None (files,), as the ledger would have them."""
    items, held = [], Held({}, {})
    for one in run.listings:
        infrared = [outcomes.get((one.name, key), UNKNOWN)["infrared"] for key in one.files.keys.to_pylist()]
        items.append(Item(one.name, one, np.arange(len(one.files))))
        held.parts[one.name] = None
        held.outcomes[one.name] = pa.table({"infrared": pa.chunked_array([infrared], pa.bool_())})
    flags = clock_flags(run, items, held)
    return {one.name: at(flags[one.name], one.files.media, None) for one in run.listings}


def proposed(
    run: Run, before: Outcomes, outcomes: Outcomes, clocks: dict[str, np.ndarray]
) -> tuple[dict[tuple[str, str], Assigned], tuple[str, ...]]:
    """Split of every file that would be read and is not known to be bad, or why there is none. What the sample found
    bad stays in, as its like among the files that were not read does."""
    rows = {one.name: _ledger(one, before, outcomes, clocks[one.name]) for one in run.listings}
    try:
        flow.check_labels(run)
        return assign(run.data.split, placed(run.listings, rows, run.before), flow.pinned(run)).of, ()
    except DataRefused as refused:
        return {}, (str(refused),)


def _ledger(listing: SurveyListing, before: Outcomes, outcomes: Outcomes, flags: np.ndarray) -> pa.Table:
    """Of the columns of LEDGER what the split asks of each of a survey's files."""
    names = [(listing.name, key) for key in listing.files.keys.to_pylist()]
    good = [not before.get(name, UNKNOWN)["reason"] for name in names]
    return pa.table(
        {
            "key": listing.files.keys,
            "sha256": pa.array([outcomes.get(name, UNKNOWN)["sha256"] for name in names], pa.binary(32)),
            "clock_flags": pa.array(flags, pa.string()),
            "status": pa.array(np.where(listing.taken & good, "ok", "rejected"), pa.string()),
        }
    )


def _empty_splits(files: pa.Table, data: DataSettings, obstacles: tuple[str, ...]) -> tuple[str, ...]:
    splits, reasons = (Counter(files[name].drop_null().to_pylist()) for name in ("split", "unused"))
    try:
        if not obstacles:
            event_labels.check_counts(splits, reasons)
            check_counts(splits, data.split.kind)
    except DataRefused as refused:
        return (str(refused),)
    return ()


def _files(listing: SurveyListing, data: DataSettings, clocks: np.ndarray) -> Iterator[tuple[dict[str, Any], str]]:
    """A FILES row of each file listed or named, without what its bytes and the split say; and its media id."""
    camera = cameras.names(listing.known.survey.media).take(rows_at(listing.files.media))
    for start in range(0, len(listing.files), BATCH):
        files = np.arange(start, min(start + BATCH, len(listing.files)))
        rows = zip(files, listing.known.media(files).items(), camera.take(files).to_pylist(), strict=True)
        listed = listing.files.table.take(files).to_pylist()
        for (place, (key, medium), seen), entry in zip(rows, listed, strict=True):
            there, reason, flags = entry["etag"] is not None, listing.why[place], clocks[place]
            row = {"survey": listing.name, "key": key, "listed": there, "reason": reason}
            row |= {"size": entry["size"], "mark": f"{entry['etag']} {entry['size']}"} if there else {}
            if reason == "withheld":
                row["withheld"] = listing.closed[place]
            elif reason is None:
                row |= _where(listing, medium, seen) | {"clock_flags": flags} | _subject(medium, data, flags)
            yield row, medium.media["media_id"] if medium.media else key


def _where(listing: SurveyListing, medium: Medium, camera: str | None) -> dict[str, Any]:
    """Place and camera as ids, month and licence."""
    known = medium.media or {}
    place, time = known.get("place"), known.get("captured_at")
    return {
        "place": place_hash(listing.settings.place_names, place)[:ID] if place is not None else None,
        "camera": digest("camera", listing.name, camera)[:ID] if camera is not None else None,
        "month": time[:7] if time else None,
        "licence": known.get("licence"),
    }


def _subject(medium: Medium, data: DataSettings, flags: str | None) -> dict[str, Any]:
    """What texts of the frame would be about."""
    if medium.captions:
        return {"kind": "captioned"}
    trusted = bool(medium.media and medium.media["captured_at"]) and trusts(flags)
    known = facts(medium, False, trusted, data.detector_threshold, data.event_labels == "always")
    if "type" not in known:
        return {"kind": None, "unused": event_labels.kept_back(medium.observations, medium.detection) or "no_caption"}
    taxon = known.get("taxon", {"value": None, "rank": None, "names": {}})
    names = taxon["names"]
    name = names.get("eng") or next(iter(names.values()), None)
    label = taxon["value"] or name
    return {
        "kind": known["type"]["value"],
        "label": label,
        "rank": taxon["rank"],
        "name": name if taxon["value"] else None,
    }


def _of_bytes(outcome: dict[str, Any] | None, when: str) -> dict[str, Any]:
    if outcome is None:
        return {}
    found = {"read": when, "bad": outcome["reason"], "sha256": outcome["sha256"], "magic": outcome["magic"]}
    return found | ({"reason": outcome["reason"]} if when == "before" else {})


def _of_split(row: dict[str, Any], assigned: Assigned | None, sample: str, data: DataSettings) -> dict[str, Any]:
    """Split and why none, in the order in which prepare decides. `sample`: the id that a blank frame is drawn by."""
    if assigned is None:
        return {"unused": None}
    split, unused = assigned
    if split != "none":
        unused = row.get("unused")
        blank = row["kind"] == "blank" and split == "train"
        if blank and share(data.captions.seed, "kept", sample) >= data.captions.blank_share:
            unused = "blank_beyond_share"
    return {"split": "none" if unused else split, "unused": unused}
