"""Metadata files and the paths they name. Paths stay inside the archive: they are keys of its store, never opened."""

import json
import re
from collections import deque
from collections.abc import Container, Iterator
from io import BufferedIOBase
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv

from infra.storage import StorageError, Store, host_of, key_part
from pipelines.errors import DataRefused
from pipelines.sources.schema import Refused

MISSING = ["", "NA", "NaN", "nan"]
"""What Camtrap DP 1.0.2 writes for a missing value."""


_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_ABSOLUTE = re.compile(r"[/\\~]|[a-z]:", re.IGNORECASE)


class BadPath(ValueError):
    """A path that is no key of the archive; `reason` is what the row is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def archive_key(path: object, prefix: str = "", hosts: Container[str] = ()) -> str:
    """The key of `path` below `prefix`; an `https://` address of one of `hosts` (Store.hosts) is a key itself.

    Names that are not UTF-8, which Python writes with halves of surrogate pairs (`caf\\udce9.jpg`), are spelled as a
    local store has them (`caf%E9.jpg`).

    Raises BadPath: no_path, remote_url (http, https), foreign_url (file, s3, gs ...), absolute_path, parent_path,
    bad_path (over 1,024 characters, control characters, another half of a surrogate pair, or a folder).
    """
    if not isinstance(path, str) or not path:
        raise BadPath("no_path")
    if scheme := _SCHEME.match(path):
        if _is_allowed(path, hosts):
            return path
        raise BadPath("remote_url" if scheme[1].lower() in ("http", "https") else "foreign_url")
    if _ABSOLUTE.match(path):
        raise BadPath("absolute_path")
    if ".." in re.split(r"[/\\]", path):
        raise BadPath("parent_path")
    key = _spelled(path)
    if not _is_plain(key) or key.endswith("/"):
        raise BadPath("bad_path")
    return folder(prefix) + key


def _spelled(path: str) -> str:
    """As it stands where it is UTF-8, or where halves are in it that are of no byte."""
    if path.isascii():
        return path
    try:
        decoded = path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return path
    return "/".join(map(key_part, decoded.split("/")))


def _is_plain(path: str) -> bool:
    return len(path) <= 1024 and not any(ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 for sign in path)


def _is_allowed(path: str, hosts: Container[str]) -> bool:
    try:
        return _is_plain(path) and host_of(path) in hosts
    except ValueError:
        return False


def folder(prefix: str) -> str:
    """`prefix` ending in one slash, or empty."""
    return prefix.rstrip("/") + "/" if prefix.rstrip("/") else ""


def read_json(store: Store, key: str, refused: Refused | None = None) -> dict[str, Any]:
    """The JSON object in a metadata file. Raises DataRefused where it is none, infra.storage.NotFound.

    A file that is not UTF-8 is read as Latin-1 and counted in `refused` as latin1_file; without that it is an error.
    """
    document = read_any_json(store, key, refused)
    if not isinstance(document, dict):
        raise DataRefused(f"{store.url}/{key}: a JSON object is expected, this file holds {type(document).__name__}")
    return document


def read_any_json(store: Store, key: str, refused: Refused | None = None) -> Any:
    """What a JSON file holds, as `read_json` reads it."""
    with store.open(key) as file:
        data = file.read()
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        if refused is None or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise _not_json(store, key, error) from None
    except (ValueError, RecursionError) as error:
        raise _not_json(store, key, error) from None
    try:
        document = json.loads(data.decode("latin-1"))
    except (ValueError, RecursionError) as error:
        raise _not_json(store, key, error) from None
    refused.add("latin1_file", key)
    return document


def _not_json(store: Store, key: str, error: Exception) -> DataRefused:
    return DataRefused(f"{store.url}/{key}: not valid JSON ({' '.join(str(error).split())})")


def read_list(store: Store, key: str, document: dict[str, Any], name: str) -> list[Any]:
    """A list that `document`, read from `key`, must hold. Raises DataRefused."""
    rows = document.get(name)
    if not isinstance(rows, list):
        raise DataRefused(f"{store.url}/{key}: it has no list named {name!r}")
    return rows


def read_lines(store: Store, key: str) -> Iterator[str]:
    """The lines of a UTF-8 text file that are not empty. Raises DataRefused where it is not UTF-8."""
    return (line for _, line in numbered_lines(store, key))


def numbered_lines(store: Store, key: str) -> Iterator[tuple[int, str]]:
    """The same with the number of each, from 1."""
    try:
        content = store.read(key).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataRefused(f"{store.url}/{key}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    return ((number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip())


def read_csv(
    store: Store, key: str, encoding: str = "utf-8", delimiter: str = ",", refused: Refused | None = None
) -> pa.Table:
    """A CSV table (plain or gzip by its name), every column as text, MISSING as null. Raises DataRefused.

    A row with too many or too few cells is counted in `refused` as ragged_row; without `refused` it is an error.
    """
    ragged = _Ragged()
    try:
        reading = csv.ReadOptions(encoding=encoding)
        parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=ragged.skip)
        with store.open(key) as file, csv.open_csv(text_stream(file, key), reading, parsing) as head:
            texts = dict.fromkeys(head.schema.names, pa.string())
        ragged.rows.clear()  # those of the first block are met again
        columns = csv.ConvertOptions(column_types=texts, null_values=MISSING, strings_can_be_null=True)
        with store.open(key) as file:
            table = csv.read_csv(text_stream(file, key), reading, parsing, columns)
        if ragged.rows:  # threads do not know the numbers of rows
            ragged.rows.clear()
            reading.use_threads = False
            with store.open(key) as file, csv.open_csv(text_stream(file, key), reading, parsing, columns) as again:
                deque(again, maxlen=0)
    except StorageError:
        raise
    except (pa.ArrowException, OSError, LookupError, ValueError) as error:
        raise DataRefused(f"{store.url}/{key}: not a readable CSV table ({' '.join(str(error).split())})") from None
    for number in ragged.rows:
        if refused is None:
            raise DataRefused(f"{store.url}/{key}: not a readable CSV table (its header does not fit row {number})")
        refused.add("ragged_row", f"{key} row {number}")
    return table


class _Ragged:
    """Numbers of the rows that do not fit the header, which is row 1; null where threads read. What stands in such a
    row is kept nowhere: its cells are not those of their columns."""

    def __init__(self) -> None:
        self.rows: list[int | None] = []

    def skip(self, row: csv.InvalidRow) -> str:
        self.rows.append(row.number)
        return "skip"


def text_stream(file: BufferedIOBase, key: str) -> pa.NativeFile:
    """The bytes of a text file, unpacked where its name ends in .gz."""
    plain = pa.PythonFile(file, "r")
    return pa.CompressedInputStream(plain, "gzip") if key.lower().endswith(".gz") else plain


def iterate(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table as mappings, a few thousand in memory at a time."""
    for batch in table.to_batches(max_chunksize=8192):
        yield from batch.to_pylist()
