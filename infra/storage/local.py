"""A directory as a store: atomic writes by temporary file, fsync and rename. Not for NFS, whose locks do not hold."""

import errno
import fcntl
import io
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow.fs as pafs

from infra.storage.contract import (
    HIDDEN,
    PROBE,
    TEMPORARY,
    AlreadyExists,
    Conflict,
    Denied,
    Entry,
    NotFound,
    Store,
    Unreadable,
)
from infra.storage.folders import entry_of, etag_of, found, walk


@dataclass(frozen=True)
class LocalStore(Store):
    """The files below `root`, an absolute directory that the first write makes."""

    root: str

    @property
    def url(self) -> str:
        return self.root

    def stream(self, prefix: str = "") -> Iterator[Entry]:
        folder = prefix.strip("/")
        with self._errors(folder):
            yield from walk(self._path(folder) if folder else self.root, folder and folder + "/")

    def head(self, key: str) -> Entry | None:
        with self._errors(key):
            try:
                status = os.stat(self._path(key))
            except (FileNotFoundError, NotADirectoryError):
                return None
            return None if os.path.isdir(self._path(key)) else entry_of(key, status)

    def read(self, key: str) -> bytes:
        with self._errors(key), open(self._path(key), "rb") as file:
            return file.read()

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with self._errors(key), open(self._path(key), "rb") as file:
            file.seek(start)
            return file.read(length)

    def open(self, key: str) -> io.BufferedIOBase:
        with self._errors(key):
            return io.BufferedReader(_Guarded(self, key))

    def put(self, key: str, data: bytes) -> str:
        with self._written(key, data) as temporary:
            os.replace(temporary, self._path(key))
        return self._etag(key)

    def create(self, key: str, data: bytes) -> str:
        with self._written(key, data) as temporary:
            etag = etag_of(os.stat(temporary))
            try:
                os.link(temporary, self._path(key))
            except FileExistsError:
                raise AlreadyExists(f"{self.root}/{key}: exists already") from None
        return etag

    def replace(self, key: str, data: bytes, etag: str) -> str:
        with self._written(key, data) as temporary, self._locked(key):
            current = self.head(key)
            if current is None or current.etag != etag:
                raise Conflict(f"{self.root}/{key}: was changed by another writer")
            new = etag_of(os.stat(temporary))
            os.replace(temporary, self._path(key))
        return new

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._errors(key):
                Path(self._path(key)).unlink(missing_ok=True)

    def delete_folder(self, prefix: str) -> None:
        """The folder itself goes too."""
        with self._errors(prefix), suppress(FileNotFoundError):
            shutil.rmtree(self._path(prefix.strip("/")))

    def leftovers(self, prefix: str = "") -> Iterator[Entry]:
        for folder, _, names in os.walk(self._path(prefix.strip("/"))):
            left = [
                name for name in names if name.startswith(PROBE) or name.startswith(HIDDEN) * name.endswith(TEMPORARY)
            ]
            for path in (os.path.join(folder, name) for name in sorted(left)):
                with suppress(FileNotFoundError):  # its writer lives and has moved it into place
                    yield entry_of(os.path.relpath(path, self.root), os.stat(path))

    def clear(self, leftover: Entry) -> None:
        self.delete([leftover.key])

    def child(self, prefix: str) -> Self:
        return type(self)(self._path(prefix.strip("/")))

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        return pafs.LocalFileSystem(), self.root

    def _path(self, key: str) -> str:
        """Keys stay below the root."""
        if key.startswith("/") or "\0" in key or ".." in key.split("/"):
            raise NotFound(f"{key!r}: not a key of {self.root}; keys are relative and hold no '..'")
        path = os.path.join(self.root, key)
        return found(self.root, key) if "%" in key and not os.path.lexists(path) else path

    def _etag(self, key: str) -> str:
        return etag_of(os.stat(self._path(key)))

    @contextmanager
    def _written(self, key: str, data: bytes) -> Iterator[str]:
        """`data` in a hidden file beside the key's, durable, for the block to move into place."""
        folder = os.path.dirname(self._path(key))
        temporary = os.path.join(folder, f"{HIDDEN}{secrets.token_hex(8)}{TEMPORARY}")
        with self._errors(key):
            os.makedirs(folder, exist_ok=True)
            try:
                _write(temporary, data)
                yield temporary
                _sync(folder)
            finally:
                Path(temporary).unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Compare and rename of one folder exclude each other across processes; a kill frees the lock at once."""
        sidecar = os.path.join(os.path.dirname(self._path(key)), f"{HIDDEN}lock")
        with open(sidecar, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (AlreadyExists, Conflict, Denied, NotFound):
            raise
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"{self.root}/{key}: no such file") from None
        except OSError as error:
            kind = Unreadable if error.errno in (errno.EACCES, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG) else Denied
            raise kind(f"{self.root}/{key}: {error.strerror or error}") from None


class _Guarded(io.FileIO):
    """An open file whose reads raise what the store raises: a bad sector shows when it is read."""

    def __init__(self, store: LocalStore, key: str) -> None:
        super().__init__(store._path(key), "rb")
        self._store, self._key = store, key

    def readinto(self, buffer: Any) -> int | None:
        with self._store._errors(self._key):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with self._store._errors(self._key):
            return super().readall()


def _write(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        now = time.time_ns()
        os.utime(file.fileno(), ns=(now, now))  # the kernel's own stamp is coarse: two writes could share it
        os.fsync(file.fileno())


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
