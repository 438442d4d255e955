"""`xmodal gc`: frees what no version of a dataset names, and what media that had to leave still keep stored.

Under the dataset's lock, and safe to kill and repeat at any point:

1. Older versions with parts that hold what the newest one withdraws or withholds are retired (`versions.retire`).
2. Receipts of ended runs are deleted from half the grace on: prepare believes none that is older than 12 h.
3. Parts and vocabularies that no live version names are deleted from the grace on: a run that lost its lock unnoticed
   may still commit younger ones.
4. What killed writers left: temporary files, probes, unfinished uploads; those of locks, retrainings and promotions
   too, whosever they are.

Ages are by the store's clock. Nothing else is touched: no version document is deleted, no lock, no file that xmodal did
not name.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infra.lock import Lock
from infra.storage import Denied, Entry, Store
from pipelines.errors import NotFound
from pipelines.places import root_store
from pipelines.prepare import ledger, versions
from pipelines.prepare.parts import LEDGER, read_columns
from pipelines.prepare.run import receipts
from pipelines.prepare.settings import NAME
from xmodal.settings import SettingsError

OURS = re.compile(r"(pixels|records|features|ledger|vocabulary)/.+-[0-9a-f]{16}\.(parquet|json)")
"""Keys of parts and vocabularies below a dataset."""
SHARED = (versions.LOCKS, "retrain", "promotions")
"""Folders of no dataset in which writers are killed too."""
BATCH = 500
"""Keys deleted at once, before the lock is confirmed again."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Found:
    """What a dataset keeps, and what of it can go."""

    kept: list[int]
    """Versions that stay."""
    retired: dict[int, int]
    """Versions to retire, with the number of their pixel parts that hold images which had to leave."""
    receipts: list[Entry] = field(default_factory=list)
    parts: list[Entry] = field(default_factory=list)
    young: list[Entry] = field(default_factory=list)
    """Parts that no version names and that are younger than the grace."""
    leftovers: list[tuple[Store, Entry]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def gone(self) -> list[Entry]:
        """All that is deleted."""
        return [*self.receipts, *self.parts, *(entry for _, entry in self.leftovers)]


def gc(dataset: str, root: str | None, older_than: str, dry_run: bool) -> str:
    """Frees what can go of `dataset` below ROOT, or with `dry_run` only says what would; returns what to print.

    `older_than`: the grace, such as 24h. Raises NotFound, SettingsError, Failed, infra.lock.Locked and Lost, and what
    storage raises.
    """
    store, grace = root_store(root), duration(older_than)
    home = versions.home(store, dataset) if re.fullmatch(NAME, dataset) else None
    if home is None or next(home.list(), None) is None:
        raise NotFound(f"{store.url}: no dataset {dataset} here")
    found = look(store, dataset, grace) if dry_run else free(store, dataset, grace)
    return "\n".join(told(dataset, found, older_than, grace, dry_run, home.after_deleting))


def duration(text: str) -> timedelta:
    """`90m`, `24h`, `7d`. Raises SettingsError."""
    written = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if written is None:
        raise SettingsError(f"--older-than {text}: give a number and s, m, h or d, such as 24h")
    return timedelta(seconds=float(written[1]) * _SECONDS[written[2]])


def free(store: Store, name: str, grace: timedelta, lease: float = versions.LEASE_SECONDS) -> Found:
    """Looks and deletes, under the lock."""
    with versions.locked(store, name, lease) as lock:
        found = look(store, name, grace)
        sweep(store, name, found, lock)
    return found


def look(store: Store, name: str, grace: timedelta) -> Found:
    """What can go, changing nothing."""
    home, work = versions.home(store, name), receipts(store, name)
    documents = versions.live(home)
    retired = outlived(home, documents)
    kept = [document for document in documents if document["version"] not in retired]
    named = {entry["path"] for document in kept for entry in versions.entries(document)}
    now = home.now()
    unnamed = _sorted(entry for entry in home.stream() if OURS.fullmatch(entry.key) and entry.key not in named)
    found = Found(
        kept=[document["version"] for document in kept],
        retired=retired,
        receipts=_sorted(entry for entry in work.stream() if entry.modified <= now - grace / 2),
        parts=[entry for entry in unnamed if entry.modified <= now - grace],
        young=[entry for entry in unnamed if entry.modified > now - grace],
    )
    _add_leftovers(found, (home, work, *(store.child(name) for name in SHARED)), now - grace)
    return found


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    """By key, but for those that cannot be read."""
    return sorted((entry for entry in entries if entry.fault is None), key=lambda entry: entry.key)


def outlived(home: Store, documents: list[versions.Document]) -> dict[int, int]:
    """Older versions with parts that hold images which the newest one withdraws or withholds, and how many such parts.

    A part is found by the files that the newest ledger names, by their bytes' hashes, and by the items that the newest
    document says withdrawn files were in."""
    if not documents:
        return {}
    *older, newest = documents
    names, hashes = _unwanted(home, newest["ledger"])
    items = {(entry["survey"], item) for entry in newest["withdrawn"] for item in entry["items"]}
    same = {part["path"] for part in newest["ledger"]}
    held = {}
    for document in older:
        others = [part for part in document["ledger"] if part["path"] not in same]
        rows = (row for row in _rows(home, others) if row["status"] == "ok")
        found = {
            (row["survey"], row["item"])
            for row in rows
            if (row["survey"], row["key"]) in names or row["sha256"] in hashes
        }
        named = {(part["survey"], part["item"]) for part in document["pixels"]}
        held[document["version"]] = len(found | (named & items))
    return {version: parts for version, parts in held.items() if parts}


def _unwanted(home: Store, parts: list[ledger.Row]) -> tuple[set[tuple[str, str]], set[bytes]]:
    """Survey and key of the files that must leave, and the hashes of those that were read."""
    names, hashes = set(), set()
    for row in filter(ledger.must_leave, _rows(home, parts)):
        names.add((row["survey"], row["key"]))
        hashes.add(row["sha256"])
    return names, hashes - {None}


def _rows(home: Store, parts: list[ledger.Row]) -> Iterator[ledger.Row]:
    """What ledger parts say of each file, a few thousand rows in memory at once."""
    for part in parts:
        table = read_columns(home, part["path"], ["survey", "key", "sha256", "status", "reason", "item"], LEDGER)
        for batch in table.to_batches(max_chunksize=8192):
            yield from batch.to_pylist()


def _add_leftovers(found: Found, stores: tuple[Store, ...], before: datetime) -> None:
    """A user who may not list uploads has the rest done and is told."""
    for store in stores:
        try:
            found.leftovers.extend((store, entry) for entry in store.leftovers() if entry.modified <= before)
        except Denied as refusal:
            found.notes.append(f"unfinished uploads not looked for: {refusal}")


def sweep(store: Store, name: str, found: Found, lock: Lock) -> None:
    """Retires, then deletes. Raises infra.lock.Lost as soon as the lock is no longer held."""
    home = versions.home(store, name)
    for version, parts in found.retired.items():
        lock.confirm()
        why = f"{parts} of its parts hold images that had to leave by version {found.kept[-1]}"
        versions.retire(home, versions.read(home, version), why, lock.fence)
    for where, entries in ((receipts(store, name), found.receipts), (home, found.parts)):
        for start in range(0, len(entries), BATCH):
            lock.confirm()
            where.delete([entry.key for entry in entries[start : start + BATCH]])
    for where, entry in found.leftovers:
        where.clear(entry)


def told(dataset: str, found: Found, older_than: str, grace: timedelta, dry: bool, after_deleting: str) -> list[str]:
    """What went, what stays and why."""
    retires, frees = ("would be retired", "would free") if dry else ("retired", "freed")
    lines = [
        f"dataset {dataset} version {version}: {retires}, {parts} of its parts hold images that had to leave"
        for version, parts in found.retired.items()
    ]
    if found.retired:
        lines.append(
            f"dataset {dataset}: reports made before, in MLflow too, may still show such images: delete these files "
            "and, in MLflow, these runs"
        )
    kinds = {"parts": found.parts, "receipts": found.receipts, "leftovers": found.leftovers}
    counted = ", ".join(f"{len(some):,} {kind}" for kind, some in kinds.items())
    kept = ", ".join(map(str, found.kept)) or "none"
    lines.append(f"dataset {dataset}: {frees} {_size(found.gone)} ({counted}); versions kept: {kept}")
    if found.young:
        when = max(entry.modified for entry in found.young) + grace
        lines.append(
            f"dataset {dataset}: {len(found.young):,} parts that no version names ({_size(found.young)}) are younger "
            f"than {older_than} and stay; run again after {when:%Y-%m-%d %H:%M} UTC"
        )
    return lines + found.notes + ([after_deleting] if found.gone and after_deleting and not dry else [])


def _size(entries: list[Entry]) -> str:
    return f"{sum(entry.size for entry in entries) / 1e6:,.1f} MB"
