"""Which files a dry run reads although it takes none, and what comes of reading them.

Files that the newest version has read and that have not changed since are known from its ledger. Of the others a sample
is drawn: they are put in the order of survey, place (folder where no place is known) and a hash, and every N/n-th is
taken from a start that the seed draws. Each file has the same chance, and places count by their size (systematic
sampling, Cochran, Sampling Techniques, 1977, chapter 8). Nothing is written anywhere.

Two copies are seldom both in a sample. So every drawn file is compared with all others of its size, which are read and
hashed for it: then its copies are known, and the share of drawn files with one is an estimate for the archive.
"""

import hashlib
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.prepare.columns import each, rows_at
from pipelines.prepare.cuts import read_with
from pipelines.prepare.digests import share
from pipelines.prepare.images import READERS, ahead, prepared, weight
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.parts import LEDGER
from pipelines.prepare.run import Run
from pipelines.sources.archive import Archive, is_streamed
from pipelines.sources.members import ArchiveEntry, Content
from xmodal.transforms import PixelSettings

SEED = 0
"""Of the sample."""
Name = tuple[str, str]
"""Survey and key."""
Outcomes = dict[Name, dict[str, Any]]
"""What reading gave: the columns of images.OUTCOMES."""
UNKNOWN: dict[str, Any] = dict.fromkeys(("reason", "sha256", "magic", "exif_turn", "infrared", "look"))
"""Of a file of which nothing is known."""


@dataclass(frozen=True)
class Alike:
    """Drawn files that can be compared with every file of their size, and what has to be read for that."""

    compared: set[Name]
    others: list[Name]


def known_before(run: Run) -> Outcomes:
    """What the newest version's ledger says of files that a run would take and not read again."""
    kept = ("key", "sha256", "magic", "exif_turn", "infrared", "look")
    found: Outcomes = {}
    for listing in run.listings:
        files = np.flatnonzero(listing.taken)
        known = each(run.read_before.of(listing.name, listing.files, files), LEDGER.names)
        listed = each(listing.files.table.select(["etag", "size"]).take(pa.array(files)), ["etag", "size"])
        for values, mark, settings in zip(known, listed, read_with(listing, files, run.data), strict=True):
            row = dict(zip(LEDGER.names, values, strict=True))
            if row["sha256"] and (row["etag"], row["size"], row["fingerprint"]) == (*mark, settings):
                reason = row["reason"] if row["status"] == "rejected" else None
                found[listing.name, row["key"]] = {name: row[name] for name in kept} | {"reason": reason}
    return found


def taken(listing: SurveyListing) -> list[str]:
    """Keys of the files that a run would take, rising."""
    return listing.files.keys.filter(pa.array(listing.taken)).to_pylist()


def drawn(listings: Sequence[SurveyListing], known: Iterable[Name], count: int, seed: int = SEED) -> list[Name]:
    """At most `count` of the files that a run would take and that are not `known`, spread over places, in order."""
    left = set(known)
    order = sorted(
        (listing.name, where, share(seed, "health", listing.name, key), key)
        for listing in listings
        for key, where in _where(listing)
        if (listing.name, key) not in left
    )
    most = min(count, len(order))
    start = share(seed, "start")
    chosen = [order[int((number + start) * len(order) / most)] for number in range(most)]
    return sorted((survey, key) for survey, _, _, key in chosen)


def _where(listing: SurveyListing) -> Iterator[tuple[str, str]]:
    """Every file that would be taken, with its place or folder."""
    media = listing.files.media[listing.taken]
    places = listing.known.survey.media["place"].take(rows_at(media)).to_pylist()
    for key, place in zip(taken(listing), places, strict=True):
        yield key, place or key.rpartition("/")[0]


def read(run: Run, names: Sequence[Name]) -> Outcomes:
    """Reads these files as prepare would, and keeps nothing but what came of it."""
    outcomes: Outcomes = {}
    bad = 0
    with run.progress("sample", total=len(names), unit="images") as progress:
        for listing in run.listings:
            entries = _entries(listing, names)
            for outcome in _read(Archive(listing.settings.store()), entries, run.data.pixels):
                outcomes[listing.name, outcome["key"]] = outcome
                bad += outcome["reason"] is not None
                progress.update(len(outcomes), bad=bad)
    return outcomes


def _entries(listing: SurveyListing, names: Sequence[Name]) -> list[ArchiveEntry]:
    """What is listed of those of `names` that are of this survey."""
    keys = (key for survey, key in names if survey == listing.name)
    return listing.files.entries(listing.files.positions(keys))


def alike(listings: Sequence[SurveyListing], names: Sequence[Name], known: Container[Name], most: int) -> Alike:
    """The files to read so that `names` are compared with every file of their size, `most` of them at most; those whose
    bytes are `known` need no reading. Empty files are compared with none."""
    sizes = {(one.name, entry.key): entry.size for one in listings for entry in _entries(one, names)}
    wanted = set(sizes.values()) - {0}
    of_size = defaultdict[int, list[Name]](list)
    for listing in listings:
        for key, size in each(listing.files.table.filter(pa.array(listing.taken)), ["key", "size"]):
            if size in wanted:
                of_size[size].append((listing.name, key))
    compared, others = set[Name](), set[Name]()
    for name in names:
        new = {other for other in of_size[sizes[name]] if other not in known and other not in others}
        if sizes[name] and len(others) + len(new) <= most:
            others |= new
            compared.add(name)
    return Alike(compared, sorted(others))


def hashed(run: Run, names: Sequence[Name]) -> Outcomes:
    """The hashes of these files, which are not decoded; nothing of those that cannot be read."""
    found: Outcomes = {}
    with run.progress("compare", total=len(names), unit="files") as progress:
        for listing in run.listings:
            entries = _entries(listing, names)
            for entry, data in _contents(Archive(listing.settings.store()), entries):
                if isinstance(data, bytes):
                    found[listing.name, entry.key] = UNKNOWN | {"sha256": hashlib.sha256(data).digest()}
                progress.update(len(found))
    return found


def _read(archive: Archive, entries: list[ArchiveEntry], settings: PixelSettings) -> Iterator[dict[str, Any]]:
    for entry, data in _contents(archive, entries):
        outcome, _ = prepared(entry.key, data, (), 0.0, settings)
        yield UNKNOWN | outcome


def _contents(archive: Archive, entries: list[ArchiveEntry]) -> Iterator[tuple[ArchiveEntry, Content]]:
    """Every file's content; members of compressed tars come last."""
    single = [entry for entry in entries if not is_streamed(entry)]
    with ThreadPoolExecutor(READERS) as pool:
        yield from zip(single, ahead(pool, archive.content, single, READERS, weight), strict=True)
    yield from archive.streamed(entry for entry in entries if is_streamed(entry))
