"""Which files a dry run reads although it takes none, and what comes of reading them.

Files that the newest version has read and that have not changed since are known from its ledger. Of the others a sample
is drawn: they are put in the order of survey, place (folder where no place is known) and a hash, and every N/n-th is
taken from a start that the seed draws. Each file has the same chance, and places count by their size (systematic
sampling, Cochran, Sampling Techniques, 1977, chapter 8). Nothing is written anywhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipelines.prepare.digests import share
from pipelines.prepare.images import READERS, ahead, prepared
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.run import Run
from pipelines.sources.archive import Archive, is_streamed
from pipelines.sources.members import ArchiveEntry, Content
from xmodal.settings import fingerprint
from xmodal.transforms import PixelSettings

SEED = 0
"""Of the sample."""
Name = tuple[str, str]
"""Survey and key."""
Outcomes = dict[Name, dict[str, Any]]
"""What reading gave: the columns of images.OUTCOMES."""


def known_before(run: Run) -> Outcomes:
    """What the newest version's ledger says of files that a run would take and not read again."""
    settings = fingerprint({"pixels": run.data.pixels})
    kept = ("key", "sha256", "magic", "exif_turn", "infrared")
    found: Outcomes = {}
    for listing in run.listings:
        for key in listing.taken(listing.entries):
            row, entry = run.read_before.get((listing.name, key)), listing.entries[key]
            if row and row["sha256"] and (row["etag"], row["size"], row["fingerprint"]) == _mark(entry, settings):
                reason = row["reason"] if row["status"] == "rejected" else None
                found[listing.name, key] = {name: row[name] for name in kept} | {"reason": reason}
    return found


def _mark(entry: ArchiveEntry, settings: str) -> tuple[str, int, str]:
    return entry.etag, entry.size, settings


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
    media = listing.known.survey.media
    places = dict(zip(media["key"].to_pylist(), media["place"].to_pylist(), strict=True))
    for key in listing.taken(listing.entries):
        yield key, places.get(key) or key.rpartition("/")[0]


def read(run: Run, names: Sequence[Name]) -> Outcomes:
    """Reads these files as prepare would, and keeps nothing but what came of it."""
    outcomes: Outcomes = {}
    bad = 0
    with run.progress("sample", total=len(names), unit="images") as progress:
        for listing in run.listings:
            entries = [listing.entries[key] for survey, key in names if survey == listing.name]
            for outcome in _read(Archive(listing.settings.store()), entries, run.data.pixels):
                outcomes[listing.name, outcome["key"]] = outcome
                bad += outcome["reason"] is not None
                progress.update(len(outcomes), bad=bad)
    return outcomes


def _read(archive: Archive, entries: list[ArchiveEntry], settings: PixelSettings) -> Iterator[dict[str, Any]]:
    empty = dict.fromkeys(("reason", "sha256", "magic", "exif_turn", "infrared"))
    for entry, data in _contents(archive, entries):
        outcome, _ = prepared(entry.key, data, settings)
        yield empty | outcome


def _contents(archive: Archive, entries: list[ArchiveEntry]) -> Iterator[tuple[ArchiveEntry, Content]]:
    """Every file's content; members of compressed tars come last."""
    single = [entry for entry in entries if not is_streamed(entry)]
    with ThreadPoolExecutor(READERS) as pool:
        yield from zip(single, ahead(pool, archive.content, single, READERS, lambda entry: entry.size), strict=True)
    yield from archive.streamed(entry for entry in entries if is_streamed(entry))
