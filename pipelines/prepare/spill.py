"""Tables kept in a temporary file in place of memory: written batch by batch, read through a memory map.

The file loses its name once it is mapped, so that it goes with the table or the process. The folder is TMPDIR's; where
that is a memory file system nothing is gained.
"""

import ctypes
import os
import tempfile
from collections.abc import Iterable, Iterator, MutableMapping

import pyarrow as pa

from pipelines.prepare.columns import MANY


def spilled(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """The rows of `batches`; the system takes their memory back when others need it. Raises OSError for a full disk."""
    with tempfile.NamedTemporaryFile(prefix="xmodal-") as file:
        write(file.name, batches, schema)
        give_back()
        return read(file.name)


def give_back() -> None:
    """Returns to the system what was freed: Arrow's pool and the C library keep it, scattered, for later. Only glibc
    can be asked to."""
    pa.default_memory_pool().release_unused()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def write(path: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Writes an Arrow IPC file; small batches are put together."""
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for table in _gathered(batches):
            writer.write_table(table)


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Tables of one chunk and MANY rows or more, but for the last."""
    some: list[pa.RecordBatch] = []
    for batch in batches:
        some.append(batch)
        if sum(map(len, some)) >= MANY:
            yield pa.Table.from_batches(some).combine_chunks()
            some = []
    if some:
        yield pa.Table.from_batches(some).combine_chunks()


def read(path: str) -> pa.Table:
    """The table in an Arrow IPC file; the file may be removed while the table lives."""
    return pa.ipc.open_file(pa.memory_map(path)).read_all()


class Kept(MutableMapping[str, pa.Table]):
    """Many small tables by name, in one temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="xmodal-", buffering=0)  # noqa: SIM115 (it lives as long as this)
        self._places: dict[str, tuple[int, int]] = {}

    def __setitem__(self, name: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        self._places[name] = self._file.seek(0, os.SEEK_END), len(data)
        self._file.write(data)

    def __getitem__(self, name: str) -> pa.Table:
        start, size = self._places[name]
        return pa.ipc.open_stream(os.pread(self._file.fileno(), size, start)).read_all()

    def __delitem__(self, name: str) -> None:
        del self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
