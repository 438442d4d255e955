"""What the containers of an archive (tar, compressed tar, zip) have in common: members as entries, and their bounds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BufferedIOBase

from infra.storage import Entry, Store, Unreadable
from pipelines.sources.reading import BadPath, archive_key
from pipelines.sources.schema import Refused

LARGEST_MEMBER = 256 << 20
"""Bytes of a member that is read: the workers hold several in memory."""
MOST_MEMBERS = 2_000_000
"""Of one container; some 0.5 kB of memory each while it is listed."""
MOST_RATIO = 200
"""Inflated to stored bytes; images hardly shrink, tables 30 times, and a bomb 1,000 times."""
SMALL = 1 << 20
"""Bytes up to which the ratio does not matter."""


@dataclass(frozen=True)
class Packed:
    """How a zip holds a member: `span` bytes from its local header to the next, `length` of data, method, CRC-32."""

    span: int
    length: int
    method: int
    crc: int


@dataclass(frozen=True)
class ArchiveEntry:
    """One file. `container` and `offset` (bytes; of a compressed tar, in what it inflates to) place a member, null for
    a loose object. `reason` says why it cannot be read, null where it can."""

    key: str
    size: int
    etag: str
    modified: datetime | None = None
    container: str | None = None
    offset: int | None = None
    packed: Packed | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Index:
    """The members of one container, and why others (or the rest of a damaged one) are not among them."""

    members: list[ArchiveEntry]
    refused: Refused
    whole: bool
    unreadable: str | None = None
    """Why the store could not give the rest, which it may another time; null for one that is whole or damaged."""


Content = bytes | Unreadable | None
"""Of an entry: its bytes, why they cannot be read, or None where they are not there any more."""


@dataclass(frozen=True)
class Format:
    """A kind of container, told by the end of its name (lower case)."""

    suffixes: tuple[str, ...]
    index: Callable[[BufferedIOBase, Entry], Index]
    """Of the open container."""
    read: Callable[[Store, ArchiveEntry], bytes]
    """One member. Raises Unreadable with a reason, and what the store raises."""
    stream: Callable[[Store, list[ArchiveEntry]], Iterator[tuple[ArchiveEntry, Content]]] | None = None
    """Members of one container in one pass, where reading them one by one would read it over and over."""


class Damaged(Exception):
    """A container whose rest cannot be listed; `reason` is what it is counted under."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class Members:
    """The members of `container` found so far. Of two of one name the later counts, as tar and unzip have it."""

    def __init__(self, container: Entry) -> None:
        self.container = container
        self.refused = Refused()
        self._found: dict[str, ArchiveEntry] = {}

    def key(self, name: str) -> str:
        """The key of a member. Raises BadPath for a name that is no plain relative path."""
        return f"{self.container.key}!/{archive_key(name.removeprefix('./'))}"

    def add(self, entry: ArchiveEntry) -> None:
        """Raises Damaged where there are too many."""
        if entry.key in self._found:
            self.refused.add("duplicate_member", entry.key)
        elif len(self._found) >= MOST_MEMBERS:
            raise Damaged(f"more than {MOST_MEMBERS} members", "too_many_members")
        self._found[entry.key] = entry

    def refuse(self, fault: BadPath, name: str) -> None:
        self.refused.add(fault.reason, f"{self.container.key}!/{name!r:.80}")

    def index(self, damage: Damaged | Unreadable | None) -> Index:
        """The members sorted by key; of a damaged or unreadable container, those found before that."""
        if damage is not None:
            self.refused.add(damage.reason, f"{self.container.key}: {damage}")
        unreadable = damage.reason if isinstance(damage, Unreadable) else None
        return Index([self._found[key] for key in sorted(self._found)], self.refused, damage is None, unreadable)


def listed(members: Members, finding: Iterable[ArchiveEntry]) -> Index:
    """The index of what `finding` yields, up to where it raises Damaged or Unreadable."""
    try:
        for entry in finding:
            members.add(entry)
    except (Damaged, Unreadable) as damage:
        return members.index(damage)
    return members.index(None)
