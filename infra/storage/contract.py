"""What every store promises, and the errors it raises: each error's text is one line that names what it is about."""

import io
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

import pyarrow.fs as pafs

HIDDEN = ".xmodal-"
"""Start of file names that belong to the store itself (temporary files, locks, probes); they are never listed."""
PROBE = f"{HIDDEN}probe-"
TEMPORARY = ".tmp"
"""End of the names of temporary files."""


class StorageError(Exception):
    """Base of all errors of a store."""


class NotFound(StorageError, FileNotFoundError):
    """The object, directory or bucket does not exist."""


class AlreadyExists(StorageError, FileExistsError):
    """`create` found an object under the key."""


class Conflict(StorageError):
    """`replace` found another version of the object than the one it was to replace, or none."""


class Denied(StorageError, PermissionError):
    """The store answers and refuses: credentials, rights, a full disk, or a feature it lacks."""


class Unreadable(Denied):
    """The store works and cannot give this one object: its own rights, a bad sector, a key the server does not take.

    `reason` is a word to count it under."""

    def __init__(self, text: str, reason: str = "unreadable") -> None:
        super().__init__(text)
        self.reason = reason


class Unreachable(StorageError, ConnectionError):
    """No answer from the endpoint."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: `key` relative to the store, `size` in bytes, `etag` opaque (changes when the bytes do), UTC time.

    `fault` says why it cannot be read, null for an object: unreadable, unreadable_folder (its key ends in a slash),
    link_loop, dangling_link, not_regular (a socket, pipe or device)."""

    key: str
    size: int
    etag: str
    modified: datetime
    fault: str | None = None


class Store(ABC):
    """A tree of objects under string keys with `/` between segments. Pickles as plain arguments; holds no secret."""

    after_deleting: ClassVar[str] = ""
    """What else it takes until deleted bytes are gone from this kind of store, in a line."""

    @property
    @abstractmethod
    def url(self) -> str:
        """`s3://bucket/prefix` or an absolute directory, without a trailing slash."""

    @property
    def etags_of_content(self) -> bool:
        """Whether objects of one etag and size hold the same bytes; those of a directory may share both by chance."""
        return False

    @property
    def hosts(self) -> frozenset[str]:
        """Hosts whose `https://` addresses are keys of this store too; only a Linked store has any."""
        return frozenset()

    @abstractmethod
    def stream(self, prefix: str = "") -> Iterator[Entry]:
        """All that lies in the folder `prefix` and below, in the store's own order, what cannot be read with its fault.

        Memory does not grow with the number of objects. A folder that does not exist holds nothing.
        Raises NotFound (bucket), Denied, Unreachable."""

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """The objects in the folder `prefix` and below that can be read, sorted by key; held in memory, some 0.5 kB
        each, since servers differ in order (SeaweedFS lists as a tree). Raises what `stream` raises."""
        yield from sorted((found for found in self.stream(prefix) if found.fault is None), key=lambda found: found.key)

    @abstractmethod
    def head(self, key: str) -> Entry | None:
        """The object's entry, None where there is no such object."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """All bytes of an object. Raises NotFound."""

    @abstractmethod
    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Up to `length` bytes from byte `start` on; fewer at the object's end, none behind it. Raises NotFound."""

    @abstractmethod
    def open(self, key: str) -> io.BufferedIOBase:
        """A seekable binary file. Raises NotFound; reading it raises Unreadable where the object was replaced since."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> str:
        """Writes or overwrites in one step, readers see the old bytes or the new ones; returns the etag."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> str:
        """Writes an object that must not exist yet; of racing callers one wins. Raises AlreadyExists."""

    @abstractmethod
    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Overwrites the version `etag` of an object; of racing callers one wins. Raises Conflict.

        Data equal to the old bytes may get the old etag, and then hide the write from whoever compares etags."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; a key that does not exist is no error."""

    def delete_folder(self, prefix: str) -> None:
        """Deletes all that lies in the folder `prefix` and below; one that does not exist is no error."""
        self.delete([entry.key for entry in self.list(prefix)])

    @abstractmethod
    def child(self, prefix: str) -> Self:
        """The store of a folder."""

    @abstractmethod
    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        """pyarrow's file system and the path of this store in it, for Parquet."""

    @abstractmethod
    def leftovers(self, prefix: str = "") -> Iterator[Entry]:
        """What killed writers left in the folder `prefix` and below, and no listing shows: temporary files, probes,
        unfinished uploads (size 0, the etag is the upload's id). Those of living writers are among them: mind the age.
        """

    @abstractmethod
    def clear(self, leftover: Entry) -> None:
        """Removes one of `leftovers`; one that is gone already is no error."""

    def now(self) -> datetime:
        """The store's own time: the stamp of an object written for this, so that ages compare no two clocks."""
        key = f"{PROBE}{secrets.token_hex(8)}"
        self.create(key, b"1")
        try:
            entry = self.head(key)
        finally:
            self.delete([key])
        if entry is None:
            raise Denied(f"{self.url}: an object that was just written is not there; this store is not consistent")
        return entry.modified

    def probe(self) -> None:
        """Proves write access and that a second `create` and a stale `replace` are refused.

        Every commit and lock rests on these two. Raises NotFound, Denied, Unreachable."""
        key = f"{PROBE}{secrets.token_hex(8)}"
        first = self.create(key, b"1")
        try:
            self._must_refuse(AlreadyExists, "create", key, b"2")
            self.replace(key, b"2", first)
            self._must_refuse(Conflict, "replace", key, b"3", first)
        finally:
            self.delete([key])

    def _must_refuse(self, refusal: type[StorageError], method: str, *arguments: object) -> None:
        try:
            getattr(self, method)(*arguments)
        except refusal:
            return
        raise Denied(f"{self.url}: this store ignores conditional writes (If-None-Match, If-Match), which commits need")
