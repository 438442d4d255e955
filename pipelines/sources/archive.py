"""An archive as a flat listing: loose objects and, in their place, the members of tars. Nothing is ever unpacked.

A member's key is `x.tar!/member`. Only headers are read to list it (POSIX 1003.1-2001 tar with GNU names); its bytes
come by one ranged GET.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BufferedIOBase

from infra.storage import Entry, Store
from pipelines.sources.reading import BadPath, archive_key
from pipelines.sources.schema import Refused

LONGEST_HEADER = 1 << 20
"""Bytes; an extended header that claims to be longer is damage, or an attack on our memory."""


@dataclass(frozen=True)
class ArchiveEntry:
    """One readable file; `container` and `offset` (bytes) place a tar member, null for a loose object."""

    key: str
    size: int
    etag: str
    modified: datetime | None = None
    container: str | None = None
    offset: int | None = None


@dataclass(frozen=True)
class _Index:
    """The members of one tar, and why others (or the rest of a damaged tar) are not among them."""

    members: list[ArchiveEntry]
    refused: Refused
    whole: bool


_INDEXES: dict[tuple[str, str, str], _Index] = {}
"""Indexes of this process by store, tar and etag: a changed tar is another one."""


class Archive:
    """The files of a survey's store. `refused` counts the tar members that `entries` has left out so far, each once.

    A tar whose headers break off is listed itself beside the members found before, so that the damage shows in every
    count of files.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refused = Refused()
        self._counted: set[tuple[str, str]] = set()

    def entries(self, prefix: str = "") -> Iterator[ArchiveEntry]:
        """Streams the files in the folder `prefix`, sorted; raises what infra.storage raises."""
        for entry in self._store.list(prefix):
            loose = ArchiveEntry(entry.key, entry.size, entry.etag, entry.modified)
            if not entry.key.lower().endswith(".tar"):
                yield loose
                continue
            index = self._index(entry)
            if (entry.key, entry.etag) not in self._counted:
                self._counted.add((entry.key, entry.etag))
                self.refused.extend(index.refused)
            if not index.whole:
                yield loose
            yield from index.members

    def read(self, entry: ArchiveEntry) -> bytes:
        """The bytes of a file: one GET, or one ranged GET inside its tar."""
        if entry.container is None or entry.offset is None:
            return self._store.read(entry.key)
        return self._store.read_range(entry.container, entry.offset, entry.size) if entry.size else b""

    def _index(self, entry: Entry) -> _Index:
        identity = (self._store.url, entry.key, entry.etag)
        if identity not in _INDEXES:
            with self._store.open(entry.key) as file:
                _INDEXES[identity] = _read_index(file, entry)
        return _INDEXES[identity]


class _Headers:
    """What tarfile reads headers through: it refuses to read more at once than any header needs."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _read_index(file: BufferedIOBase, container: Entry) -> _Index:
    refused = Refused()
    members: dict[str, ArchiveEntry] = {}
    whole = True
    try:
        with tarfile.open(fileobj=_Headers(file), mode="r:", errors="surrogateescape") as tar:  # type: ignore[call-overload]
            while info := tar.next():
                tar.members = []  # tarfile keeps every header otherwise
                _add_member(members, info, container, refused)
            _check_end(file, tar.offset)
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        refused.add("damaged_tar", f"{container.key}: {error}")
        whole = False
    return _Index([members[key] for key in sorted(members)], refused, whole)


def _check_end(file: BufferedIOBase, offset: int) -> None:
    """tarfile takes a damaged header for the end: the end is an empty block, or the end of the file."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"a damaged header at byte {offset}")


def _add_member(members: dict[str, ArchiveEntry], info: tarfile.TarInfo, container: Entry, refused: Refused) -> None:
    """Takes a regular member with a plain relative name; of two of one name the later counts, as tar itself has it."""
    try:
        name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").removeprefix("./")
        if info.isdir():
            return
        if not info.isreg() or info.issparse():
            raise BadPath("member_not_regular")
        if info.offset_data + info.size > container.size:
            raise BadPath("member_cut_off")
        key = f"{container.key}!/{archive_key(name)}"
    except BadPath as fault:
        refused.add(fault.reason, f"{container.key}!/{info.name!r:.80}")
        return
    if key in members:
        refused.add("duplicate_member", key)
    members[key] = ArchiveEntry(
        key, info.size, f"{container.etag}:{info.offset_data}", container.modified, container.key, info.offset_data
    )
