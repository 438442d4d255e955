"""A store in whose operations the process dies: before one, after one, or with half of its bytes sent.

All that is written or removed is an operation, locks and probes too, but for the renewals of a lock by its thread:
these come when they come, and have no number.
"""

import http.client
import itertools
import os
import signal
import tempfile
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import obstore

from infra.storage import Entry, LocalStore, S3Store, Store
from infra.storage.contract import HIDDEN, TEMPORARY

PHASES = {
    "put": ("before", "torn", "unfinished", "after"),
    "create": ("before", "torn", "after"),
    "replace": ("before", "torn", "after"),
    "delete": ("before", "after"),
    "clear": ("before", "after"),
    "read": ("read",),
}
"""torn: the connection ends half-way through the upload. unfinished: an upload in parts ends after its first part."""


class Fuse(Protocol):
    """Numbers operations, and knows what kills at the fatal phase of the fatal one."""

    def number(self, method: str, key: str) -> int: ...

    def fatal(self, number: int, phase: str) -> Callable[[], None] | None: ...


@dataclass
class Ordinal:
    """`end` ends this process in its operation number `fatal_number`, counted from 0; without one it only counts."""

    fatal_number: int | None = None
    fatal_phase: str = ""
    end: Callable[[], None] | None = None
    operations: list[tuple[str, str]] = field(default_factory=list)

    def number(self, method: str, key: str) -> int:
        self.operations.append((method, key))
        return len(self.operations) - 1

    def fatal(self, number: int, phase: str) -> Callable[[], None] | None:
        return self.end if (number, phase) == (self.fatal_number, self.fatal_phase) else None


@dataclass
class Shared:
    """Operations of several processes, counted by files in a local `folder`: one of them kills `victim` (None: its own
    process) and says so in `marks`; the work's repetition, which has a higher number, goes through."""

    fatal_number: int
    fatal_phase: str
    folder: str
    marks: str
    victim: int | None

    def number(self, method: str, key: str) -> int:
        for number in itertools.count(len(os.listdir(self.folder))):
            with suppress(FileExistsError):
                os.close(os.open(f"{self.folder}/{number}", os.O_CREAT | os.O_EXCL))
                return number
        raise AssertionError

    def fatal(self, number: int, phase: str) -> Callable[[], None] | None:
        fatal = (number, phase) == (self.fatal_number, self.fatal_phase)
        return partial(kill, self.marks, self.victim or os.getpid()) if fatal else None


def kill(marks: str, pid: int) -> None:
    """Leaves a file in the local folder `marks` first: a moment in which nobody died would look like one survived."""
    os.close(tempfile.mkstemp(dir=marks)[0])
    os.kill(pid, signal.SIGKILL)


class Killing:
    """The store `inner` with a fuse in all that it writes and removes; all else is the store's own."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self.inner, self.fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return Killing, (self.inner, self.fuse)

    def child(self, prefix: str) -> "Killing":
        return Killing(self.inner.child(prefix), self.fuse)

    def put(self, key: str, data: bytes) -> str:
        return self._write("put", key, data)

    def create(self, key: str, data: bytes) -> str:
        return self._write("create", key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self._write("replace", key, data, etag)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            number = self._number("delete", key)
            self._reach(number, "before")
            self.inner.delete([key])
            self._reach(number, "after")

    def delete_folder(self, prefix: str) -> None:
        Store.delete_folder(cast(Store, self), prefix)

    def clear(self, leftover: Entry) -> None:
        number = self._number("clear", leftover.key)
        self._reach(number, "before")
        self.inner.clear(leftover)
        self._reach(number, "after")

    def now(self) -> datetime:
        return Store.now(cast(Store, self))

    def probe(self) -> None:
        Store.probe(cast(Store, self))

    def _write(self, method: str, key: str, data: bytes, *etag: str) -> str:
        if "/locks/" in f"{self.inner.url}/{key}" and threading.current_thread() is not threading.main_thread():
            return getattr(self.inner, method)(key, data, *etag)
        number = self._number(method, key)
        self._reach(number, "before")
        for phase, tear in (("torn", torn), ("unfinished", unfinished)):
            if kill := self.fuse.fatal(number, phase):
                tear(self.inner, key, data, kill)
        try:
            return getattr(self.inner, method)(key, data, *etag)
        finally:  # after a refusal too
            self._reach(number, "after")

    def _number(self, method: str, key: str) -> int:
        return self.fuse.number(method, f"{self.inner.url}/{key}")

    def _reach(self, number: int, phase: str) -> None:
        if kill := self.fuse.fatal(number, phase):
            kill()


class KillingReads(Killing):
    """The same for whole reads alone: its operations are those."""

    def __reduce__(self) -> tuple[Any, ...]:
        return KillingReads, (self.inner, self.fuse)

    def read(self, key: str) -> bytes:
        self._reach(self._number("read", key), "read")
        return self.inner.read(key)


def torn(store: LocalStore | S3Store, key: str, data: bytes, kill: Callable[[], None]) -> None:
    """Half of `data` is on its way when the process ends."""
    if isinstance(store, LocalStore):
        path = Path(store.root, key).parent / f"{HIDDEN}{os.getpid()}{TEMPORARY}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[: len(data) // 2])
        return kill()
    signed = obstore.sign(store.connection.client, "PUT", store._key(key), timedelta(minutes=5))
    address = urllib.parse.urlsplit(signed)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    connection.putrequest("PUT", f"{address.path}?{address.query}")
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data[: len(data) // 2])
    kill()
    connection.close()


def unfinished(store: LocalStore | S3Store, key: str, data: bytes, kill: Callable[[], None]) -> None:
    """The first part of an upload in parts is stored when the process ends."""
    if isinstance(store, LocalStore):  # has no such uploads
        return torn(store, key, data, kill)
    call = store.connection.files.call_s3
    where = {"Bucket": store.connection.bucket, "Key": store._key(key)}
    upload: Any = call("create_multipart_upload", **where)
    call("upload_part", **where, UploadId=upload["UploadId"], PartNumber=1, Body=data[: len(data) // 2])
    kill()
