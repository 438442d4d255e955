"""What an archive holds joined with what its metadata say, and what becomes of each file before anything is read."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress

import numpy as np
import pyarrow as pa

from infra.storage import is_address
from pipelines.errors import DataRefused
from pipelines.prepare import links, shut
from pipelines.prepare.before import Before
from pipelines.prepare.cameras import pc
from pipelines.prepare.catalogue import ByKey, Catalogue, listed
from pipelines.prepare.columns import NONE, at, each, mask
from pipelines.prepare.known import Known, marked
from pipelines.prepare.privacy import closed, kinds
from pipelines.prepare.reading import read_metadata
from pipelines.prepare.settings import DataSettings, SurveySettings
from pipelines.prepare.versions import listing_digest
from pipelines.sources.archive import Archive
from pipelines.sources.formats import EXTENSIONS
from pipelines.sources.members import ArchiveEntry
from pipelines.sources.schema import Survey, TakenDown

TAKEN_DOWN = "taken_down"
"""Reason of a file that a takedown list withdraws (pipelines/prepare/withdrawal.py)."""
NOTHING = np.array(None)
"""To compare arrays of str or None with."""
_IMAGE = f"(?i)({'|'.join(map(re.escape, EXTENSIONS))})$"
_CLAIM = f"{_IMAGE}|({'|'.join(map(re.escape, shut.SUFFIXES))})$|/$"
"""Names of images, and of containers and folders, which could hold any."""


@dataclass
class SurveyListing:
    """One survey: its files, what is known of them from its metadata, and why some are not read."""

    settings: SurveySettings
    files: Catalogue
    known: Known
    count: int
    """Files as they were listed, one by one."""
    why: np.ndarray
    """str or None (files,): why a file is not read."""
    closed: np.ndarray
    """str or None (files,): what privacy keeps a file out for, human | vehicle | not_public | copy."""
    damaged: dict[str, int] = field(default_factory=dict)
    """Members of tars and zips that could not be listed, by reason."""
    metadata: frozenset[str] = frozenset()
    """Keys that were read as metadata."""
    hashes: dict[int, bytes | None] = field(default_factory=dict)
    """SHA-256 of withdrawn files by position, where it was known before they were withdrawn."""

    @property
    def name(self) -> str:
        return self.settings.name

    @cached_property
    def digest(self) -> str:
        """Of every (key, etag, size) listed."""
        rows = each(self.files.table, ("key", "etag", "size"))
        return listing_digest(compress(rows, self.files.listed))

    @cached_property
    def named(self) -> TakenDown:
        """Every name on the survey's takedown lists."""
        return TakenDown.union(self.known.survey.takedown)

    @cached_property
    def etags_of_content(self) -> np.ndarray:
        """bool (files,): whether the etag is of the content: that of a zip's member, its CRC-32, and that of a store
        which says so; a server on the web may call anything an etag."""
        of_members = mask(pc.starts_with(self.files.table["etag"], "crc32:"))
        of_store = ~mask(pc.starts_with(self.files.keys, "https://", ignore_case=True))
        return of_members | (of_store & self.settings.store().etags_of_content)

    def copies(self, marks: pa.Array | pa.ChunkedArray, among: np.ndarray) -> np.ndarray:
        """Positions of those of `among`, bool (files,), that have one of `marks` (Catalogue.marks) and so the bytes of
        another file. Empty files are no copies of each other."""
        filled = mask(pc.greater(self.files.table["size"], 0))
        places = np.flatnonzero(among & filled & self.etags_of_content)
        return places[mask(pc.is_in(self.files.marks(places), value_set=marks))]

    @property
    def taken(self) -> np.ndarray:
        """bool (files,): whether a file is read."""
        return self.why == NOTHING

    @property
    def entries(self) -> Mapping[str, ArchiveEntry]:
        """What is listed, by key."""
        return ByKey(self.files, self.files.listed, lambda place: self.files.entries(np.array([place]))[0])

    @property
    def rejected(self) -> Mapping[str, str]:
        """Why each file that is not read is not, by key."""
        return ByKey(self.files, ~self.taken, lambda place: self.why[place])


def list_survey(data: DataSettings, settings: SurveySettings, before: Before | None = None) -> SurveyListing:
    """Lists an archive and reads its metadata. `before`: the ledger of the version before. Raises DataRefused where
    nothing is listed, and what storage raises."""
    store = settings.store()
    archive = Archive(store)
    entries = listed(archive.stream())
    if before is not None and archive.shut:
        entries = shut.with_known(entries, before.rows(settings.name), archive.shut)
    if not len(entries):
        raise DataRefused(f"survey {settings.name}: no file under {store.url}")
    metadata = read_metadata(store, settings, data.event_gap, entries)
    survey = metadata.survey
    private = closed(survey, data)
    hidden = kinds(private, survey.media["key"], np.arange(len(survey.media))) != NOTHING
    down = _withdrawn(survey) & ~marked(survey, metadata.keys)
    linked = links.ask(store, filter(is_address, _keys(survey, ~hidden & ~down)))
    files = Catalogue.of(pa.concat_tables([entries, listed(linked.entries.values())]), survey)
    count = len(entries) + len(linked.entries)
    _check_keys(f"survey {settings.name}: {store.url}", files, entries, count)
    unknown, out = np.full(len(files), None, object), kinds(private, files.keys, files.media)
    listing = SurveyListing(settings, files, Known(metadata, files), count, unknown, out)
    listing.metadata, listing.damaged = metadata.keys, dict(archive.refused.counts)
    _reject(listing, linked, data.pixels.max_megabytes, archive.shut)
    return listing


def check_taken(listing: SurveyListing) -> None:
    """Raises DataRefused where there is no image that may be taken, with what became of all files."""
    if not (listing.taken & listing.files.listed).any():
        counts = Counter(reason for reason in listing.why if reason)
        told = "; ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
        url = listing.settings.store().url
        raise DataRefused(f"survey {listing.name}: no image that may be taken under {url} ({told})")


def _check_keys(name: str, files: Catalogue, entries: pa.Table, count: int) -> None:
    """Raises DataRefused where two of the files listed have one key: the ledger could hold one of them alone."""
    if files.listed.sum() < count:
        counted = entries.group_by("key").aggregate([([], "count_all")])
        (key, *_) = counted.filter(pc.field("count_all") > 1)["key"].to_pylist()
        raise DataRefused(f"{name}: two files have the key {key!r}; rename the one that lies beside the container")


def _keys(survey: Survey, among: np.ndarray) -> Iterator[str]:
    """Keys of the media in a mask, without a list of them all."""
    yield from (key for (key,) in each(survey.media.select(["key"]).filter(pa.array(among)), ["key"]))


def _reject(listing: SurveyListing, linked: links.Links, max_megabytes: float, unseen: Collection[str]) -> None:
    """Gives reasons to files, of several the last. `unseen`: Archive.shut."""
    files, why = listing.files, listing.why
    named, table = files.media != NONE, files.table
    hidden = listing.closed != NOTHING
    marks = files.marks(np.flatnonzero(hidden)).drop_null()
    listing.closed[listing.copies(marks, ~named & ~hidden)] = "copy"
    why[mask(pc.greater(table["size"], max_megabytes * 1e6))] = "too_large"  # for memory
    why[named & ~files.listed] = "missing"
    why[named & ~files.listed & shut.inside(files.keys, unseen)] = shut.UNREADABLE
    why[files.listed & at(mask(listing.known.survey.media["corrupt"]), files.media, False)] = "corrupt"
    metadata = np.isin(np.arange(len(files)), files.positions(listing.metadata))
    why[~named & ~_matches(files, _IMAGE)] = "not_image"
    why[~named & metadata] = "metadata"
    why[listing.closed == "copy"] = "withheld"
    for key, reason in linked.reasons.items():
        why[files.position(key)] = reason
    faulty = np.flatnonzero((named | _matches(files, _CLAIM)) & mask(table["reason"].is_valid()))
    why[faulty] = table["reason"].take(pa.array(faulty)).to_pylist()
    why[hidden] = "withheld"
    down = at(_withdrawn(listing.known.survey), files.media, False)
    down |= files.listed & named_by(listing.named, files.keys, listing.known.media_ids)
    why[down & ~metadata] = TAKEN_DOWN


def named_by(down: TakenDown, keys: pa.ChunkedArray, media_ids: pa.ChunkedArray) -> np.ndarray:
    """bool (rows,): whether a takedown list names a row's key or media id."""
    pairs = ((keys, down.keys), (media_ids, down.media_ids))
    by_key, by_id = (mask(pc.is_in(column, value_set=pa.array(sorted(names), pa.string()))) for column, names in pairs)
    return by_key | by_id


def _withdrawn(survey: Survey) -> np.ndarray:
    """bool (media,): whether a takedown list names it."""
    return mask(survey.media["withdrawn"])


def _matches(files: Catalogue, pattern: str) -> np.ndarray:
    return mask(pc.match_substring_regex(files.keys, pattern))
