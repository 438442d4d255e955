"""Plain tars (POSIX 1003.1-2001 with GNU names): only headers are read to list one, a member is one ranged GET."""

import tarfile
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Protocol

from infra.storage import Entry, Store
from pipelines.sources.members import LARGEST_MEMBER, ArchiveEntry, Damaged, Format, Index, Members, listed
from pipelines.sources.reading import BadPath

LONGEST_HEADER = 1 << 20
"""Bytes; an extended header that claims to be longer is damage, or an attack on our memory."""


class Source(Protocol):
    """A tar's bytes; seeking need not go back further than one block."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...

    def tell(self) -> int: ...

    def reaches(self, end: int) -> bool:
        """Whether it holds `end` bytes."""
        ...

    def finish(self) -> None:
        """Checks what lies behind the tar. Raises EOFError."""
        ...


class _Plain:
    """The bytes of a tar of `size` bytes as they are stored."""

    def __init__(self, file: BufferedIOBase, size: int) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self._size = size

    def reaches(self, end: int) -> bool:
        return end <= self._size

    def finish(self) -> None:
        """Nothing: a tar has no checksum of its bodies."""


class _Headers:
    """What tarfile reads headers through: it refuses to read more at once than any header needs."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.seek, self.tell = source.seek, source.tell

    def read(self, size: int) -> bytes:
        if size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._source.read(size)


def index_of(source: Source, container: Entry) -> Index:
    """The index of a tar."""
    members = Members(container)
    return listed(members, _found(source, members))


def _found(source: Source, members: Members) -> Iterator[ArchiveEntry]:
    try:
        with tarfile.open(fileobj=_Headers(source), mode="r:", errors="surrogateescape") as tar:  # type: ignore[call-overload]
            while info := tar.next():
                tar.members = []  # tarfile keeps every header otherwise
                yield from _member(info, members, source)
            _check_end(source, tar.offset)
            source.finish()
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        raise Damaged(str(error), "damaged_tar") from None


def _member(info: tarfile.TarInfo, members: Members, source: Source) -> Iterator[ArchiveEntry]:
    """A regular member with a plain relative name that the tar holds whole, else nothing, and it is counted."""
    container = members.container
    try:
        if info.isdir():
            return
        if not info.isreg() or info.issparse():
            raise BadPath("member_not_regular")
        key = members.key(info.name)
        if not source.reaches(info.offset_data + info.size):
            raise BadPath("member_cut_off")
    except BadPath as fault:
        members.refuse(fault, info.name)
        return
    etag = f"{container.etag}:{info.offset_data}"
    reason = "member_too_large" if info.size > LARGEST_MEMBER else None
    yield ArchiveEntry(key, info.size, etag, container.modified, container.key, info.offset_data, reason=reason)


def _check_end(source: Source, offset: int) -> None:
    """tarfile takes a damaged header for the end: the end is an empty block, or the end of the file."""
    source.seek(offset)
    if source.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"a damaged header at byte {offset}")


def _index(file: BufferedIOBase, container: Entry) -> Index:
    return index_of(_Plain(file, container.size), container)


def _read(store: Store, entry: ArchiveEntry) -> bytes:
    assert entry.container is not None and entry.offset is not None
    return store.read_range(entry.container, entry.offset, entry.size)


TAR = Format((".tar",), _index, _read)
