"""Parquet tables that lie in memory."""

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(data: bytes) -> pa.Table:
    """The whole table of a file's bytes. Raises pa.ArrowException where it is none.

    Not `pyarrow.parquet.read_table`: a thread of its scanner may still hold Python's bytes when the interpreter ends,
    which then aborts ("terminate called without an active exception", apache/arrow#34314).
    """
    return pq.ParquetFile(pa.BufferReader(data)).read()
