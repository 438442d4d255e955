"""Tables kept in a temporary file in place of memory: written batch by batch, read through a memory map.

The file loses its name once it is mapped, so that it goes with the table or the process. The folder is TMPDIR's; where
that is a memory file system nothing is gained.
"""

import tempfile
from collections.abc import Iterable

import pyarrow as pa


def spilled(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """The rows of `batches`; the system takes their memory back when others need it. Raises OSError for a full disk."""
    with tempfile.NamedTemporaryFile(prefix="xmodal-") as file:
        write(file.name, batches, schema)
        return read(file.name)


def mapped(table: pa.Table) -> pa.Table:
    """The same table, of one chunk a column: rows of several chunks are copied together whenever some are taken."""
    return spilled(table.combine_chunks().to_batches(), table.schema)


def write(path: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Writes an Arrow IPC file."""
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def read(path: str) -> pa.Table:
    """The table in an Arrow IPC file; the file may be removed while the table lives."""
    return pa.ipc.open_file(pa.memory_map(path)).read_all()
