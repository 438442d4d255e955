"""Compressed tars (.tar.gz, .tgz; gzip as in RFC 1952). They have no index and no way to their middle but through it.

So listing one reads all of it, once a process. Members are read in one pass a task, from the start to the last member
that the task needs: a container of n items is read some n times. Plain tars and zips have no such cost; an archive that
will be read often should be one of these. Damage (a wrong checksum too) costs the members that reach into the last
PIECE before it, and all behind it.
"""

import zlib
from collections import deque
from collections.abc import Iterator
from io import SEEK_SET, BufferedIOBase
from typing import Any

from infra.storage import Entry, NotFound, Store, Unreadable
from pipelines.sources.members import MOST_RATIO, SMALL, ArchiveEntry, Content, Damaged, Format, Index
from pipelines.sources.tar_members import index_of

PIECE = 1 << 18
"""Bytes inflated at a time."""
BACK = 1 << 12
"""Bytes behind the piece at hand that can be gone back to: tarfile steps back one header."""


class Inflated:
    """What a gzip stream inflates to, as a file that goes forwards; a bomb raises Damaged."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._input = b""
        self._taken = self._made = 0
        self._held = bytearray()
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """To `offset`, or to where the stream ends or breaks off before it. Raises ValueError for a place passed by."""
        if whence != SEEK_SET or offset < self._made - len(self._held):
            raise ValueError(f"no way back to byte {offset} of a compressed tar")
        try:
            while offset > self._made and self._more():
                pass
        except EOFError:
            offset = min(offset, self._made)
        self._position = min(offset, self._made)
        return self._position

    def reaches(self, end: int) -> bool:
        return self.seek(end) == end

    def finish(self) -> None:
        """Goes to the end, where the stream's CRC-32 is. Raises EOFError."""
        while self._more():
            pass

    def read(self, size: int) -> bytes:
        """Fewer bytes than asked for at the end. Raises EOFError where the stream breaks off or is damaged."""
        while self._position + size > self._made and self._more(keep=self._made - self._position):
            pass
        start = len(self._held) - (self._made - self._position)
        data = bytes(self._held[start : start + size])
        self._position += len(data)
        return data

    def _more(self, keep: int = 0) -> bool:
        """Inflates the next piece, keeping at least the last `keep` bytes; False at the end."""
        piece = self._piece()
        del self._held[: -max(keep, BACK)]
        self._held += piece
        self._made += len(piece)
        if self._made > SMALL + MOST_RATIO * self._taken:
            raise Damaged(f"{self._made} bytes from {self._taken}", "container_ratio")
        return bool(piece)

    def _piece(self) -> bytes:
        try:
            while True:
                if self._inflate.eof and not self._next_stream():
                    return b""
                there = bool(self._input) or self._refill()
                piece = self._inflate.decompress(self._input, PIECE)
                self._input = self._inflate.unconsumed_tail
                if piece:
                    return piece
                if not there and not self._inflate.eof:
                    raise EOFError("the gzip stream breaks off")
        except zlib.error as error:
            raise EOFError(f"damaged gzip: {error}") from None

    def _next_stream(self) -> bool:
        """Several gzip streams may follow each other, and zeros the last one."""
        self._input = self._inflate.unused_data.lstrip(b"\0")
        while not self._input and self._refill():
            self._input = self._input.lstrip(b"\0")
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if self._input else self._inflate
        return bool(self._input)

    def _refill(self) -> bool:
        self._input = self._file.read(PIECE)
        self._taken += len(self._input)
        return bool(self._input)


def _index(file: BufferedIOBase, container: Entry) -> Index:
    return index_of(Inflated(file), container)


def _stream(store: Store, entries: list[ArchiveEntry]) -> Iterator[tuple[ArchiveEntry, Content]]:
    """The members in the order in which they lie in their container. Where that cannot be read any further, those that
    are left share the fault."""
    left = deque(sorted(entries, key=lambda entry: entry.offset or 0))
    fault: Content = None
    try:
        with store.open(str(left[0].container)) as file:
            stream = Inflated(file)
            while left:
                content = _member(stream, left[0])
                yield left.popleft(), content
    except NotFound:
        pass
    except Unreadable as error:
        fault = error
    yield from ((entry, fault) for entry in left)


def _member(stream: Inflated, entry: ArchiveEntry) -> Content:
    try:
        data = stream.read(entry.size) if stream.reaches(entry.offset or 0) else b""
    except (EOFError, Damaged) as error:
        return Unreadable(f"{entry.key}: {error}", "member_damaged")
    return data if len(data) == entry.size else Unreadable(f"{entry.key}: cut off", "member_damaged")


def _read(store: Store, entry: ArchiveEntry) -> bytes:
    """One member alone, at the cost of all before it."""
    (_, content) = next(_stream(store, [entry]))
    if content is None:
        raise NotFound(f"{store.url}/{entry.container}: no such object")
    if isinstance(content, Unreadable):
        raise content
    return content


COMPRESSED_TAR = Format((".tar.gz", ".tgz"), _index, _read, _stream)
