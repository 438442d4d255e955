"""A store whose metadata may point to the web: addresses of allowed hosts are keys that can be read beside its own."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import pyarrow.fs as pafs

from infra.storage.address import is_address
from infra.storage.contract import Entry, Store
from infra.storage.web import Web


@dataclass(frozen=True)
class Linked(Store):
    """`store`, and the files of `web`, whose keys are their addresses: read, asked for one by one, never listed."""

    store: Store
    web: Web

    @property
    def url(self) -> str:
        return self.store.url

    @property
    def etags_of_content(self) -> bool:
        """Of the store's own objects: what servers on the web call an etag may be anything."""
        return self.store.etags_of_content

    @property
    def hosts(self) -> frozenset[str]:
        return self.web.hosts

    def stream(self, prefix: str = "") -> Iterator[Entry]:
        return self.store.stream(prefix)

    def head(self, key: str) -> Entry | None:
        return self.web.head(key) if is_address(key) else self.store.head(key)

    def read(self, key: str) -> bytes:
        return self.web.read(key) if is_address(key) else self.store.read(key)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        if is_address(key):
            return self.web.read(key)[start : start + length]
        return self.store.read_range(key, start, length)

    def open(self, key: str) -> io.BufferedIOBase:
        return io.BytesIO(self.web.read(key)) if is_address(key) else self.store.open(key)

    def put(self, key: str, data: bytes) -> str:
        return self.store.put(key, data)

    def create(self, key: str, data: bytes) -> str:
        return self.store.create(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self.store.replace(key, data, etag)

    def delete(self, keys: Iterable[str]) -> None:
        self.store.delete(keys)

    def delete_folder(self, prefix: str) -> None:
        self.store.delete_folder(prefix)

    def leftovers(self, prefix: str = "") -> Iterator[Entry]:
        return self.store.leftovers(prefix)

    def clear(self, leftover: Entry) -> None:
        self.store.clear(leftover)

    def child(self, prefix: str) -> Self:
        return type(self)(self.store.child(prefix), self.web)

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        return self.store.filesystem()
