"""Media that metadata name by `https://` address: each is asked for once a listing, and listed by what its server says.

An address is a key: it stands in ledger and reports as the metadata write it, with all its parameters.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from infra.storage import Entry, Store, Unreachable, Unreadable, is_address
from pipelines.sources.members import ArchiveEntry

ASKERS = 16
"""Requests in flight."""


@dataclass
class Links:
    """What is there, by key; and each key that is not, but for those that are simply missing, with why."""

    entries: dict[str, ArchiveEntry] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def ask(store: Store, keys: Iterable[str]) -> Links:
    """Asks for those of `keys` that are addresses. A host that does not answer is the reason `unreachable`, which the
    next listing asks again."""
    addresses = sorted(key for key in keys if is_address(key))
    links = Links()
    with ThreadPoolExecutor(ASKERS) as pool:
        for key, found in zip(addresses, pool.map(lambda key: _asked(store, key), addresses), strict=True):
            if isinstance(found, Entry):
                modified = found.modified if found.modified.timestamp() else None
                links.entries[key] = ArchiveEntry(key, found.size, found.etag, modified)
            elif found is not None:
                links.reasons[key] = found
    return links


def _asked(store: Store, key: str) -> Entry | str | None:
    try:
        return store.head(key)
    except Unreadable as error:
        return error.reason
    except Unreachable:
        return "unreachable"
