"""One table of every image: what a run would make of each file, by listing, ledger, sample, clocks and the recipe's
crops, split and thinning.

This is the only place that knows how prepare plans; the sections count rows of IMAGES. No image is written, and no
store is changed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import DataRefused
from pipelines.health.sample import SEED, UNKNOWN, Outcomes, alike, drawn, hashed, known_before, read
from pipelines.prepare import cameras, event_labels, flow
from pipelines.prepare.clock_flags import clock_flags
from pipelines.prepare.clocks import trusts
from pipelines.prepare.columns import NONE, at, mask, rows_at
from pipelines.prepare.crops import about_crop, box_name, crop_boxes
from pipelines.prepare.digests import digest, share
from pipelines.prepare.facts import Medium, facts
from pipelines.prepare.items import sample_id
from pipelines.prepare.listing import SurveyListing, check_taken
from pipelines.prepare.placed import Codes, of_files
from pipelines.prepare.plan import Held, Item
from pipelines.prepare.run import Run
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.splits import ASSIGNED, check_counts
from pipelines.prepare.thinned import TRAIN, thinned
from pipelines.prepare.units import place_hash
from pipelines.prepare.withdrawal import withdraw
from pipelines.sources.rows import Rows
from pipelines.taxa import species_key

IMAGES = pa.schema(
    [
        ("survey", pa.string()),
        ("key", pa.string()),
        ("first", pa.bool_()),  # one row a file: other rows are further crops of it
        ("listed", pa.bool_()),  # False = the metadata name it and the archive lacks it
        ("size", pa.int64()),
        ("mark", pa.string()),  # etag and size; null = not listed, or the etag is not of the content
        ("reason", pa.string()),  # why it would not be taken, by listing or ledger; null = it would
        ("withheld", pa.string()),  # not_public | human | vehicle | copy, of withheld files
        ("place", pa.string()),  # 8 hex digits; null = unknown
        ("camera", pa.string()),  # 8 hex digits; null = no metadata name the file
        ("month", pa.string()),  # YYYY-MM of the time written; null = none
        ("clock_flags", pa.string()),  # a|b as in the ledger
        ("kind", pa.string()),  # animal | human | vehicle | blank | captioned; null = no label reaches it
        ("label", pa.string()),  # of an animal: its species as evaluation counts it, else its taxon; null = not known
        ("rank", pa.string()),  # species, where it is counted as one; else the taxon's, null = not known
        ("name", pa.string()),  # a common name of what `label` says
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

    images: pa.Table
    """IMAGES: those that a run would make, and a row of every other file."""
    obstacles: tuple[str, ...]
    """What a run would end with, in its own words."""
    unlooked: int
    """Files that the split gives to train and whose look is not known: some may be near duplicates (data.thin)."""

    @property
    def files(self) -> pa.Table:
        """One row of each file."""
        return self.images.filter(pc.field("first"))


def gather(run: Run, sample: int, seed: int = SEED) -> Gathered:
    """Reads at most `sample` files whose bytes no ledger knows, and hashes as many again to find their copies."""
    withdraw(run.listings, run.before)
    before = known_before(run)
    now = read(run, drawn(run.listings, before, sample, seed))
    twins = alike(run.listings, sorted(now), before.keys() | now.keys(), sample)
    others = hashed(run, twins.others)
    outcomes = before | now | others
    clocks = _clocks(run, outcomes)
    forecast = proposed(run, before, outcomes, clocks)
    rows = Rows(IMAGES)
    done = 0
    with run.progress("health", total=sum(len(one.files) for one in run.listings), unit="files") as progress:
        for listing in run.listings:
            codes = forecast.codes[listing.name]
            for place, row, own_id in _images(listing, run.data, clocks[listing.name]):
                name = (listing.name, row["key"])
                when = "now" if name in now else "hashed" if name in others else "before"
                row |= _of_bytes(outcomes.get(name), when) | {"compared": name in twins.compared}
                rows.add(**row | _of_split(row, int(codes[place]), own_id, run.data))
                done += row["first"]
                progress.update(done)
    images = rows.table()
    obstacles = forecast.obstacles or _empty_splits(images, run.data)
    return Gathered(images, obstacles, forecast.unlooked)


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


@dataclass(frozen=True)
class Forecast:
    """What would become of every file, or why no split can be made."""

    codes: Codes
    obstacles: tuple[str, ...] = ()
    unlooked: int = 0


def proposed(run: Run, before: Outcomes, outcomes: Outcomes, clocks: dict[str, np.ndarray]) -> Forecast:
    """Split of every file that would be read and is not known to be bad. What the sample found bad stays in, as its
    like among the files that were not read does."""
    rows = {one.name: _ledger(one, before, outcomes, clocks[one.name]) for one in run.listings}
    try:
        for listing in run.listings:
            check_taken(listing)
        flow.check_labels(run)
        codes = thinned(run.listings, rows, of_files(rows, flow.split(run, rows)), run.data)
    except DataRefused as refused:
        return Forecast({one.name: np.full(len(one.files), NONE) for one in run.listings}, (str(refused),))
    unlooked = [_unlooked(one, rows[one.name], codes[one.name]) for one in run.listings] if run.data.thin else []
    return Forecast(codes, unlooked=sum(unlooked))


def _unlooked(listing: SurveyListing, rows: pa.Table, codes: np.ndarray) -> int:
    """Files for training with an event that cannot be compared with the others of it, since they were not decoded."""
    events = at(mask(listing.known.survey.media["event_id"].is_valid()), listing.files.media, False)
    decoded = mask(rows["look"].is_valid()) | mask(rows["bad"].is_valid())
    return int(((codes == TRAIN) & events & ~decoded).sum())


def _ledger(listing: SurveyListing, before: Outcomes, outcomes: Outcomes, flags: np.ndarray) -> pa.Table:
    """Of the columns of LEDGER what split and thinning ask of each of a survey's files."""
    names = [(listing.name, key) for key in listing.files.keys.to_pylist()]
    good = [not before.get(name, UNKNOWN)["reason"] for name in names]
    known = [outcomes.get(name, UNKNOWN) for name in names]
    return pa.table(
        {
            "key": listing.files.keys,
            "sha256": pa.array([one["sha256"] for one in known], pa.binary(32)),
            "look": pa.array([one["look"] for one in known], pa.int64()),
            "bad": pa.array([one["reason"] for one in known], pa.string()),
            "clock_flags": pa.array(flags, pa.string()),
            "status": pa.array(np.where(listing.taken & good, "ok", "rejected"), pa.string()),
        }
    )


def _empty_splits(images: pa.Table, data: DataSettings) -> tuple[str, ...]:
    splits, reasons = (Counter(images[name].drop_null().to_pylist()) for name in ("split", "unused"))
    try:
        event_labels.check_counts(splits, reasons)
        check_counts(splits, data.split.kind)
    except DataRefused as refused:
        return (str(refused),)
    return ()


def _images(
    listing: SurveyListing, data: DataSettings, clocks: np.ndarray
) -> Iterator[tuple[int, dict[str, Any], str]]:
    """The IMAGES rows of each file listed or named, without what its bytes and the split say; with the file's position
    and the image's sample id."""
    for place, row, medium in _files(listing, clocks):
        boxes = crop_boxes(medium, data.crops, data.detector_threshold) if row["reason"] is None else ()
        media_id = medium.media["media_id"] if medium.media else row["key"]
        for number, crop in enumerate(map(box_name, boxes) if boxes else [""]):
            told = _subject(medium, crop, data, row["clock_flags"]) if row["reason"] is None else {}
            yield place, row | told | {"first": number == 0}, sample_id(listing.name, media_id, crop)


def _files(listing: SurveyListing, clocks: np.ndarray) -> Iterator[tuple[int, dict[str, Any], Medium]]:
    """Position of each file, what listing and metadata say of it, and its medium."""
    camera = cameras.names(listing.known.survey.media).take(rows_at(listing.files.media))
    telling = listing.etags_of_content
    for start in range(0, len(listing.files), BATCH):
        files = np.arange(start, min(start + BATCH, len(listing.files)))
        rows = zip(files, listing.known.media(files).items(), camera.take(files).to_pylist(), strict=True)
        listed = listing.files.table.take(files).to_pylist()
        for (place, (key, medium), seen), entry in zip(rows, listed, strict=True):
            there, reason, flags = entry["etag"] is not None, listing.why[place], clocks[place]
            row = {"survey": listing.name, "key": key, "listed": there, "reason": reason}
            row |= {"size": entry["size"]} if there else {}
            row |= {"mark": f"{entry['etag']} {entry['size']}"} if telling[place] else {}
            if reason == "withheld":
                row["withheld"] = listing.closed[place]
            elif reason is None:
                row |= _where(listing, medium, seen) | {"clock_flags": flags}
            yield int(place), row, medium


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


def _subject(medium: Medium, crop: str, data: DataSettings, flags: str | None) -> dict[str, Any]:
    """What texts of the frame, or of a crop of it, would be about."""
    if medium.captions:
        return {"kind": "captioned"}
    shown = about_crop(medium, crop) if crop else medium
    trusted = bool(medium.media and medium.media["captured_at"]) and trusts(flags)
    known = facts(shown, False, trusted, data.detector_threshold, data.event_labels == "always")
    if "type" not in known:
        return {"kind": None, "unused": event_labels.kept_back(medium.observations, medium.detection) or "no_caption"}
    kind = known["type"]["value"]
    if "taxon" not in known:
        return {"kind": kind}
    taxon = known["taxon"]
    species, names = species_key(taxon), taxon["names"]
    label, rank = (species, "species") if species else (taxon["value"], taxon["rank"])
    common = names.get("eng") or next(iter(names.values()), None)
    return {"kind": kind, "label": label, "rank": rank, "name": common if label and label == taxon["value"] else None}


def _of_bytes(outcome: dict[str, Any] | None, when: str) -> dict[str, Any]:
    if outcome is None:
        return {}
    found = {"read": when, "bad": outcome["reason"], "sha256": outcome["sha256"], "magic": outcome["magic"]}
    return found | ({"reason": outcome["reason"]} if when == "before" else {})


def _of_split(row: dict[str, Any], code: int, sample: str, data: DataSettings) -> dict[str, Any]:
    """Split and why none, in the order in which prepare decides. `sample`: the id that a blank frame is drawn by."""
    if code == NONE:
        return {"unused": None}
    split, unused = ASSIGNED[code]
    if split != "none":
        unused = row.get("unused")
        blank = row["kind"] == "blank" and split == "train"
        if blank and share(data.captions.seed, "kept", sample) >= data.captions.blank_share:
            unused = "blank_beyond_share"
    return {"split": "none" if unused else split, "unused": unused}
