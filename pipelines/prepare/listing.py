"""What an archive holds joined with what its metadata say, and what becomes of each file before anything is read."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.prepare import links
from pipelines.prepare.events import with_events
from pipelines.prepare.facts import Medium
from pipelines.prepare.precedence import TYPES
from pipelines.prepare.settings import DataSettings, SurveySettings
from pipelines.prepare.versions import listing_digest
from pipelines.sources.archive import Archive
from pipelines.sources.formats import EXTENSIONS
from pipelines.sources.members import ArchiveEntry
from pipelines.sources.schema import Survey

TAKEN_DOWN = "taken_down"
"""Reason of a file that a takedown list withdraws (pipelines/prepare/withdrawal.py)."""
_LABEL = pc.field("type").isin(TYPES)
"""Observations that say what a frame shows."""


class ReadKeys:
    """A store that remembers which objects were read: those are metadata, whatever they are called."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.keys: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, key: str) -> bytes:
        self.keys.add(key)
        return self._store.read(key)

    def open(self, key: str) -> Any:
        self.keys.add(key)
        return self._store.open(key)


@dataclass
class Known:
    """A survey's tables, searched by key."""

    survey: Survey

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Key to row of the media table."""
        return {key: row for row, key in enumerate(self.survey.media["key"].to_pylist())}

    @cached_property
    def _detection_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.survey.detections["key"].to_pylist())}

    @cached_property
    def _observations(self) -> tuple[pa.Table, dict[str, tuple[int, int]]]:
        """Observations sorted by media id, and where each medium's begin and end."""
        table = self.survey.observations.sort_by("media_id").combine_chunks()
        names = np.array(table["media_id"].to_pylist(), dtype=object)
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]) if len(names) else np.array([], int)
        ends = [*starts[1:].tolist(), len(names)]
        return table, {names[start]: (start, end) for start, end in zip(starts.tolist(), ends, strict=False)}

    def media_id(self, key: str) -> str:
        """The archive's own id; for a file that no metadata name, its key."""
        row = self.row_of.get(key)
        return key if row is None else self.survey.media["media_id"][row].as_py()

    def media(self, keys: Iterable[str]) -> dict[str, Medium]:
        """What is known of each of `keys`."""
        found = list(keys)
        rows = {key: self.row_of[key] for key in found if key in self.row_of}
        media = dict(zip(rows, _rows(self.survey.media, rows.values()), strict=True))
        seen = {key: self._detection_of[key] for key in found if key in self._detection_of}
        boxes = dict(zip(seen, _rows(self.survey.detections, seen.values()), strict=True))
        return {key: Medium(media.get(key), self._of(media.get(key)), boxes.get(key)) for key in found}

    def _of(self, media: dict[str, Any] | None) -> list[dict[str, Any]]:
        table, ranges = self._observations
        start, end = ranges.get(media["media_id"], (0, 0)) if media else (0, 0)
        return table.slice(start, end - start).to_pylist()

    @cached_property
    def labelled(self) -> set[str]:
        """Keys of the media that a label or caption could give a text."""
        return self._keys_of(self.survey.observations.filter(pc.field("caption").is_valid() | _LABEL))

    @cached_property
    def undetected(self) -> set[str]:
        """Keys of the labelled media that only a label of their event names, and that no detector ran on."""
        of_event = pc.field("caption").is_null() & (pc.field("level") == "event") & (pc.field("type") == "animal")
        of_frame = pc.field("caption").is_valid() | ((pc.field("level") == "media") & _LABEL)
        observations = self.survey.observations
        found = self._keys_of(observations.filter(of_event)) - self._keys_of(observations.filter(of_frame))
        return found - self._detection_of.keys()

    def _keys_of(self, observations: pa.Table) -> set[str]:
        media = set(observations["media_id"].to_pylist())
        pairs = zip(self.survey.media["key"].to_pylist(), self.survey.media["media_id"].to_pylist(), strict=True)
        return {key for key, media_id in pairs if media_id in media}


def _rows(table: pa.Table, positions: Iterable[int]) -> list[dict[str, Any]]:
    return table.take(pa.array(positions, pa.int64())).to_pylist()


@dataclass
class SurveyListing:
    """One survey: `entries` by key as listed, `known` from its metadata, and each key that is not read with why."""

    settings: SurveySettings
    entries: dict[str, ArchiveEntry]
    known: Known
    rejected: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    """Members of tars and zips that could not be listed, by reason."""
    metadata: frozenset[str] = frozenset()
    """Keys that were read as metadata."""
    hashes: dict[str, bytes | None] = field(default_factory=dict)
    """SHA-256 of withdrawn files, where it was known before they were withdrawn."""

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def digest(self) -> str:
        """Of every (key, etag, size) listed."""
        return listing_digest((entry.key, entry.etag, entry.size) for entry in self.entries.values())

    @cached_property
    def named(self) -> frozenset[str]:
        """Every name on the survey's takedown lists: keys, media ids, hashes."""
        return frozenset[str]().union(*self.known.survey.takedown)

    def taken(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that are read."""
        return [key for key in keys if key not in self.rejected]


def list_survey(data: DataSettings, settings: SurveySettings) -> SurveyListing:
    """Lists an archive and reads its metadata. Raises DataRefused where it has no image, and what storage raises."""
    store = settings.store()
    archive = Archive(store)
    entries = {entry.key: entry for entry in sorted(archive.stream(), key=lambda entry: entry.key)}
    if not entries:
        raise DataRefused(f"survey {settings.name}: no file under {store.url}")
    reader = cast(Store, ReadKeys(store))
    survey = settings.source.read(reader)
    for overlay in settings.overlays:
        survey = overlay.read(reader, survey)
    survey = replace(survey, media=with_events(survey.media, data.event_gap))
    metadata, damaged = frozenset(cast(ReadKeys, reader).keys), dict(archive.refused.counts)
    listing = SurveyListing(settings, entries, Known(survey), damaged=damaged, metadata=metadata)
    hidden = withheld(survey, data)
    linked = links.ask(store, listing.known.row_of.keys() - hidden - _taken_down(listing))
    entries.update(linked.entries)
    listing.rejected = _too_large(entries.values(), data.pixels.max_megabytes) | _rejected(listing, hidden, linked)
    if len(listing.rejected.keys() & entries.keys()) == len(entries):
        counts = "; ".join(sorted({f"{reason}" for reason in listing.rejected.values()}))
        raise DataRefused(f"survey {settings.name}: no image that may be taken under {store.url} ({counts})")
    return listing


def _rejected(listing: SurveyListing, withheld_keys: set[str], linked: links.Links) -> dict[str, str]:
    """Key to reason. An unnamed file with the etag and size of a withheld one is its copy (on S3 the etag is of the
    content) and withheld as well."""
    named, entries = listing.known.row_of, listing.entries
    hidden = {(entries[key].etag, entries[key].size) for key in withheld_keys if key in entries}
    found = {key: "missing" for key in named if key not in entries}
    for key in entries.keys() - named.keys():
        if (entries[key].etag, entries[key].size) in hidden:
            found[key] = "withheld"
        elif key in listing.metadata:
            found[key] = "metadata"
        elif not key.lower().endswith(EXTENSIONS):
            found[key] = "not_image"
    found |= linked.reasons | _faults(listing)
    found |= {key: "withheld" for key in withheld_keys if key in entries or key in named}
    return found | dict.fromkeys(_taken_down(listing), TAKEN_DOWN)


def _taken_down(listing: SurveyListing) -> set[str]:
    """Keys that a takedown list names, by themselves or by their media id; never the metadata's own."""
    marked = listing.known.survey.media.filter(pc.field("withdrawn").isin([True]))["key"].to_pylist()
    return {*marked, *(listing.named & listing.entries.keys())} - listing.metadata


def _too_large(entries: Iterable[ArchiveEntry], max_megabytes: float) -> dict[str, str]:
    """Files that no worker reads: it holds what it reads in memory."""
    return {entry.key: "too_large" for entry in entries if entry.size > max_megabytes * 1e6}


def _faults(listing: SurveyListing) -> dict[str, str]:
    """Why files cannot be read, of those that are named, look like images, or are folders, which could hold any."""
    listed = ((key, entry.reason) for key, entry in listing.entries.items() if entry.reason)
    claim = (*EXTENSIONS, "/")
    return {key: reason for key, reason in listed if key in listing.known.row_of or key.lower().endswith(claim)}


def withheld(survey: Survey, data: DataSettings) -> set[str]:
    """Keys of what privacy keeps out: people and vehicles, by label or by detector box, and non-public media.

    A label of a whole event withholds all its frames.
    """
    kinds = {"human": data.privacy.people, "vehicle": data.privacy.vehicles}
    closed = [kind for kind, let_in in kinds.items() if not let_in]
    shown = set(survey.observations.filter(pc.field("type").isin(closed))["media_id"].to_pylist()) if closed else set()
    columns = (survey.media[name].to_pylist() for name in ("key", "media_id", "public"))
    found = {
        key
        for key, media_id, public in zip(*columns, strict=True)
        if media_id in shown or (public is False and not data.privacy.non_public)
    }
    for batch in survey.detections.to_batches(max_chunksize=8192):
        for row in batch.to_pylist():
            boxes = zip(row["classes"] or [], row["confidences"] or [], strict=True)
            if any(name in closed and confidence >= data.detector_threshold for name, confidence in boxes):
                found.add(row["key"])
    return found
