"""What an archive holds joined with what its metadata say, and what becomes of each file before anything is read."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress

import numpy as np
import pyarrow as pa

from infra.storage import is_address
from pipelines.errors import DataRefused
from pipelines.prepare import links
from pipelines.prepare.cameras import pc
from pipelines.prepare.catalogue import ByKey, Catalogue, listed
from pipelines.prepare.columns import NONE, at, each, mask
from pipelines.prepare.known import Known, marked
from pipelines.prepare.reading import read_metadata
from pipelines.prepare.settings import DataSettings, SurveySettings
from pipelines.prepare.versions import listing_digest
from pipelines.sources.archive import Archive
from pipelines.sources.formats import EXTENSIONS
from pipelines.sources.members import ArchiveEntry
from pipelines.sources.schema import Survey

TAKEN_DOWN = "taken_down"
"""Reason of a file that a takedown list withdraws (pipelines/prepare/withdrawal.py)."""
_IMAGE = f"(?i)({'|'.join(map(re.escape, EXTENSIONS))})$"
_CLAIM = f"{_IMAGE}|/$"
"""Names of images, and of folders, which could hold any."""


@dataclass
class SurveyListing:
    """One survey: its files, what is known of them from its metadata, and why some are not read."""

    settings: SurveySettings
    files: Catalogue
    known: Known
    why: np.ndarray
    """str or None (files,): why a file is not read."""
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
    def named(self) -> frozenset[str]:
        """Every name on the survey's takedown lists: keys, media ids, hashes."""
        return frozenset[str]().union(*self.known.survey.takedown)

    @property
    def taken(self) -> np.ndarray:
        """bool (files,): whether a file is read."""
        return self.why == np.array(None)

    @property
    def entries(self) -> Mapping[str, ArchiveEntry]:
        """What is listed, by key."""
        return ByKey(self.files, self.files.listed, lambda place: self.files.entries(np.array([place]))[0])

    @property
    def rejected(self) -> Mapping[str, str]:
        """Why each file that is not read is not, by key."""
        return ByKey(self.files, ~self.taken, lambda place: self.why[place])


def list_survey(data: DataSettings, settings: SurveySettings) -> SurveyListing:
    """Lists an archive and reads its metadata. Raises DataRefused where it has no image, and what storage raises."""
    store = settings.store()
    archive = Archive(store)
    entries = listed(archive.stream())
    if not len(entries):
        raise DataRefused(f"survey {settings.name}: no file under {store.url}")
    metadata = read_metadata(store, settings, data.event_gap, entries)
    survey = metadata.survey
    hidden = withheld(survey, data)
    down = _withdrawn(survey) & ~marked(survey, metadata.keys)
    linked = links.ask(store, filter(is_address, _keys(survey, ~hidden & ~down)))
    files = Catalogue.of(pa.concat_tables([entries, listed(linked.entries.values())]), survey)
    listing = SurveyListing(settings, files, Known(metadata, files), np.full(len(files), None, object))
    listing.metadata, listing.damaged = metadata.keys, dict(archive.refused.counts)
    _reject(listing, hidden, linked, data.pixels.max_megabytes)
    if not (listing.taken & files.listed).any():
        counts = "; ".join(sorted({f"{reason}" for reason in listing.why if reason}))
        raise DataRefused(f"survey {settings.name}: no image that may be taken under {store.url} ({counts})")
    return listing


def _keys(survey: Survey, among: np.ndarray) -> Iterator[str]:
    """Keys of the media in a mask, without a list of them all."""
    yield from (key for (key,) in each(survey.media.select(["key"]).filter(pa.array(among)), ["key"]))


def _reject(listing: SurveyListing, hidden: np.ndarray, linked: links.Links, max_megabytes: float) -> None:
    """Gives reasons to files, of several the last. `hidden`: bool (media,), what privacy keeps out."""
    files, why = listing.files, listing.why
    named, table = files.media != NONE, files.table
    hidden = at(hidden, files.media, False)
    why[mask(pc.greater(table["size"], max_megabytes * 1e6))] = "too_large"  # for memory
    why[named & ~files.listed] = "missing"
    metadata = np.isin(np.arange(len(files)), files.positions(listing.metadata))
    why[~named & ~_matches(files, _IMAGE)] = "not_image"
    why[~named & metadata] = "metadata"
    why[_copies(files, hidden, ~named)] = "withheld"
    for key, reason in linked.reasons.items():
        why[files.position(key)] = reason
    faulty = np.flatnonzero((named | _matches(files, _CLAIM)) & mask(table["reason"].is_valid()))
    why[faulty] = table["reason"].take(pa.array(faulty)).to_pylist()
    why[hidden] = "withheld"
    down = at(_withdrawn(listing.known.survey), files.media, False)
    down |= files.listed & np.isin(np.arange(len(files)), files.positions(listing.named))
    why[down & ~metadata] = TAKEN_DOWN


def _withdrawn(survey: Survey) -> np.ndarray:
    """bool (media,): whether a takedown list names it."""
    return mask(survey.media["withdrawn"])


def _matches(files: Catalogue, pattern: str) -> np.ndarray:
    return mask(pc.match_substring_regex(files.keys, pattern))


def _copies(files: Catalogue, hidden: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Positions of those of `among` that have the etag and size of a `hidden` file."""
    marks = files.marks(np.flatnonzero(hidden)).drop_null()
    places = np.flatnonzero(among)
    return places[mask(pc.is_in(files.marks(places), value_set=marks))]


def withheld(survey: Survey, data: DataSettings) -> np.ndarray:
    """bool (media,): what privacy keeps out, people and vehicles, by label or by detector box, and non-public media.

    A label of a whole event withholds all its frames.
    """
    kinds = {"human": data.privacy.people, "vehicle": data.privacy.vehicles}
    closed = [kind for kind, let_in in kinds.items() if not let_in]
    said = survey.observations.select(["media_id", "type"])
    shown = said.filter(pc.field("type").isin(pa.array(closed, pa.string())))["media_id"]
    found = mask(pc.is_in(survey.media["media_id"], value_set=shown))
    if not data.privacy.non_public:
        found |= mask(pc.equal(survey.media["public"], False))
    return found | marked(survey, _boxed(survey.detections, closed, data.detector_threshold))


def _boxed(detections: pa.Table, closed: Collection[str], threshold: float) -> set[str]:
    """Keys of the files in which a detector is sure of a box of one of the `closed` kinds."""
    found = set()
    for key, classes, confidences in each(detections, ("key", "classes", "confidences")):
        boxes = zip(classes or [], confidences or [], strict=True)
        if any(name in closed and confidence >= threshold for name, confidence in boxes):
            found.add(key)
    return found
