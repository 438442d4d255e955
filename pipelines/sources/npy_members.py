"""Region features as an archive's files: each row of an `*_ims.npy` (SCAN's "precomp" layout) is a member.

A member's key is `train_ims.npy!/0000017`, its content the row as an `.npy` file of its own: header and numbers. Only
the header is read to list one, and a member is one ranged GET (NumPy's format, version 1.0 to 3.0; NEP 1).
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, cast

import numpy as np
from numpy.lib import format as npy

from infra.storage import Entry, Store
from pipelines.sources.members import LARGEST_MEMBER, ArchiveEntry, Damaged, Format, Index, Members, listed
from xmodal.regions import ONE_HEADER

SUFFIX = "_ims.npy"
LONGEST_HEADER = 1 << 16
"""Bytes from the file's start in which its header ends."""
DTYPES = ("<f2", "<f4", "<f8")
_OPEN: dict[tuple[str, str, str], "StoredArray"] = {}
"""Arrays of this process by store, key and etag: a changed one is another."""


@dataclass(frozen=True)
class Header:
    """What an array's first bytes say: its type, shape and where its numbers begin."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Bytes of the whole file."""
        return self.start + self.shape[0] * self.row_bytes


def header_of(data: bytes) -> Header:
    """The header that a file's first bytes hold. Raises ValueError where they hold none of an array of floats whose
    rows lie one after another."""
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the format is not read")
    with ONE_HEADER:
        shape, fortran, dtype = read(stream)
    if fortran or not shape or dtype.str not in DTYPES:
        order = "column by column" if fortran else f"of type {dtype.str}"
        raise ValueError(f"an array of shape {shape} {order}; floats row by row are expected")
    return Header(dtype, tuple(shape), stream.tell())


class StoredArray:
    """An array in a store; its header is read when it is opened. Raises ValueError, NotFound."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self.header = header_of(store.read_range(key, 0, LONGEST_HEADER))

    def row(self, number: int) -> np.ndarray:
        """The numbers of a row."""
        return np.frombuffer(self._bytes(number), self.header.dtype).reshape(self.header.shape[1:])

    def row_file(self, number: int) -> bytes:
        """A row as an `.npy` file of its own."""
        stream = io.BytesIO()
        said: dict[str, Any] = {
            "descr": self.header.dtype.str,
            "fortran_order": False,
            "shape": self.header.shape[1:],
        }
        npy.write_array_header_1_0(cast(Any, stream), said)
        return stream.getvalue() + self._bytes(number)

    def _bytes(self, number: int) -> bytes:
        length = self.header.row_bytes
        return self._store.read_range(self._key, self.header.start + number * length, length)


def member(key: str) -> tuple[str, int]:
    """The array's key and the row of a member's key. Raises ValueError for a key that is none."""
    container, mark, row = key.rpartition("!/")
    if not (mark and container.lower().endswith(SUFFIX) and row.isdigit()):
        raise ValueError(f"{key} is no row of an array *{SUFFIX}")
    return container, int(row)


def member_key(container: str, row: int) -> str:
    return f"{container}!/{row:07d}"


def _index(file: BufferedIOBase, container: Entry) -> Index:
    return listed(Members(container), _rows(file, container))


def _rows(file: BufferedIOBase, container: Entry) -> Iterator[ArchiveEntry]:
    try:
        header = header_of(file.read(LONGEST_HEADER))
    except ValueError as error:
        raise Damaged(str(error), "damaged_npy") from None
    if header.end != container.size:
        raise Damaged(f"{container.size} bytes for an array of {header.end}", "damaged_npy")
    reason = "member_too_large" if header.row_bytes > LARGEST_MEMBER else None
    for row in range(header.shape[0]):
        start = header.start + row * header.row_bytes
        key, etag = member_key(container.key, row), f"{container.etag}:{start}"
        yield ArchiveEntry(key, header.row_bytes, etag, container.modified, container.key, start, reason=reason)


def _read(store: Store, entry: ArchiveEntry) -> bytes:
    key, number = member(entry.key)
    identity = (store.url, key, entry.etag.rpartition(":")[0])
    if identity not in _OPEN:
        _OPEN[identity] = StoredArray(store, key)
    return _OPEN[identity].row_file(number)


NPY = Format((SUFFIX,), _index, _read)
