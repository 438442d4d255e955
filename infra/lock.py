"""A lease in a store: one JSON object whose etag is the compare-and-set token. No clock is compared across machines.

A holder renews by rewriting the object; a contender who sees no renewal for 1.25 times the holder's ttl takes over. A
holder that slept past its lease can still act before it notices, so what a lock protects must itself be a conditional
write; `fence`, which only grows, goes into what is written.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from infra.storage import AlreadyExists, Conflict, NotFound, StorageError, Store, Unreachable

TTL_SECONDS = 60.0
RENEWALS_PER_TTL = 4
PATIENCE = 1.25
"""Lease lengths that a contender watches a silent holder for; the margin covers a renewal on its way."""


class Locked(Exception):
    """Somebody else holds the lock and lives."""


class Lost(Exception):
    """The lease ended, or another holder took over."""


class Lock:
    """One contender for the lock at `key`; `fence` is set once it is acquired.

    The thread that renews and the one that works share it: each write of the object is whole."""

    def __init__(self, store: Store, key: str, ttl: float = TTL_SECONDS) -> None:
        self.store, self.key, self.ttl = store, key, ttl
        self.name = f"{store.url}/{key}"
        self.owner = secrets.token_hex(8)
        self.fence = 0
        self._document: dict[str, Any] = {}
        self._etag = ""
        self._until = 0.0
        self._writing = threading.RLock()

    def acquire(self) -> None:
        """Takes a lock that is new, free, or whose holder stays silent. Raises Locked once a holder shows life."""
        try:
            self._take(1, None)
        except AlreadyExists:
            document, etag = self._read()
            self._watch(document, etag)
            self._take(document["fence"] + 1, etag)

    def renew(self) -> None:
        """Extends the lease by ttl from now. Raises Lost, Unreachable."""
        self._rewrite({})

    def release(self) -> None:
        """Frees the lock; its object stays, for the fence. Raises Lost where another holder took over, Unreachable."""
        self._rewrite({"owner": None})

    def check(self) -> None:
        """Raises Lost when the lease has ended as far as this process can tell."""
        if time.monotonic() > self._until:
            raise Lost(f"{self.name}: the lease was not renewed in time")

    def confirm(self) -> None:
        """Renews now, so that the store says who holds the lock: call before every commit and every delete. A machine
        that slept may not count the time it slept. A store that does not answer is asked until the lease ends.

        Raises Lost."""
        while True:
            self.check()
            try:
                return self.renew()
            except Unreachable:
                time.sleep(self.ttl / RENEWALS_PER_TTL)

    def _rewrite(self, changes: dict[str, Any]) -> None:
        with self._writing:
            following = self._document["n"] + 1  # equal bytes would keep the etag
            self._write(self._document | changes | {"n": following}, self._etag)

    def _watch(self, document: dict[str, Any], etag: str) -> None:
        """Returns when the lock is free for taking. Raises Locked."""
        silence = document["ttl"] * PATIENCE if document["owner"] else 0.0
        end = time.monotonic() + silence
        while time.monotonic() < end:
            time.sleep(min(document["ttl"] / RENEWALS_PER_TTL, 0.5))
            now, seen = self._read()
            if seen != etag and now["owner"]:
                raise Locked(f"{self.name}: {now['who']} holds the lock; wait until it is done, or stop it")
            if seen != etag:
                raise Locked(f"{self.name}: {now['who']} has just released the lock; try again")

    def _take(self, fence: int, etag: str | None) -> None:
        who = f"process {os.getpid()} on {socket.gethostname()}"
        try:
            self._write({"owner": self.owner, "who": who, "fence": fence, "ttl": self.ttl, "n": 0}, etag)
        except Lost:
            raise Locked(f"{self.name}: another process took the lock at the same moment; try again") from None
        self.fence = fence

    def _write(self, document: dict[str, Any], etag: str | None) -> None:
        """Compare and set. An answer may be lost after its write was done, so a refusal is read back.

        Raises AlreadyExists (etag None), Lost, Unreachable."""
        begun = time.monotonic()  # the lease counts from before the request
        data = json.dumps(document).encode()
        try:
            self._etag = self.store.create(self.key, data) if etag is None else self.store.replace(self.key, data, etag)
        except (AlreadyExists, Conflict, Unreachable) as refusal:
            self._etag = self._written_after_all(document, refusal)
        self._document, self._until = document, begun + self.ttl

    def _written_after_all(self, document: dict[str, Any], refusal: StorageError) -> str:
        try:
            found, etag = self._read()
        except NotFound:
            raise Lost(f"{self.name}: its object was deleted") from None
        if found == document:
            return etag
        if isinstance(refusal, Conflict):
            raise Lost(f"{self.name}: {found['who']} took over") from None
        raise refusal

    def _read(self) -> tuple[dict[str, Any], str]:
        """The document and an etag that is not newer than it."""
        entry = self.store.head(self.key)
        if entry is None:
            raise NotFound(f"{self.name}: no such object")
        return json.loads(self.store.read(self.key)), entry.etag


@contextmanager
def held(store: Store, key: str, ttl: float = TTL_SECONDS) -> Iterator[Lock]:
    """The lock for the block, renewed by a thread; call `confirm()` before what must not happen without it.

    Raises Locked on entry; Lost at the end where the lease did not last.
    """
    lock = Lock(store, key, ttl)
    lock.acquire()
    ended = threading.Event()
    renewing = threading.Thread(target=_renew_until, args=(lock, ended), daemon=True)
    renewing.start()
    try:
        yield lock
    except BaseException:
        with suppress(Lost, StorageError):  # the block's own error says more, and the lease ends by itself
            _end(lock, renewing, ended)
        raise
    _end(lock, renewing, ended)


def _renew_until(lock: Lock, ended: threading.Event) -> None:
    """Renews until the block ends or the lock is lost; a store that does not answer is asked again."""
    while not ended.wait(lock.ttl / RENEWALS_PER_TTL):
        try:
            lock.renew()
        except Lost:
            lock._until = 0.0
            return
        except StorageError:
            continue


def _end(lock: Lock, renewing: threading.Thread, ended: threading.Event) -> None:
    ended.set()
    renewing.join()
    lock.check()
    lock.release()
