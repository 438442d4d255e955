"""A prefix of an S3 bucket as a store: obstore for bytes and conditional writes, s3fs for listings and open files."""

import io
import itertools
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Self

import obstore
import pyarrow.fs as pafs

from infra.storage.connection import CONNECT_SECONDS, READ_SECONDS, Connection
from infra.storage.contract import HIDDEN, PROBE, Entry, NotFound, Store

SINGLE_PUT_BYTES = 64 << 20
"""Above this a put goes in parts, still visible only when complete; its etag is then no md5."""


@dataclass(frozen=True)
class S3Store(Store):
    """The objects whose keys start with `prefix` and a slash; an empty prefix is the whole bucket."""

    connection: Connection
    prefix: str

    after_deleting = (
        "deleted is not erased: a versioned bucket keeps old versions until they are deleted too, and SeaweedFS keeps "
        "the bytes until a vacuum: weed shell, then: lock; volume.vacuum -garbageThreshold=0.0001; unlock"
    )

    @property
    def url(self) -> str:
        return f"s3://{self.connection.bucket}/{self.prefix}".rstrip("/")

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Held in memory while sorted, about 0.5 kB an object: servers differ in order (SeaweedFS lists as a tree)."""
        shown = (entry for entry in self._listed(prefix) if not _name(entry).startswith(HIDDEN))
        yield from sorted(shown, key=lambda entry: entry.key)

    def _listed(self, prefix: str) -> Iterator[Entry]:
        """All objects, hidden ones too, folder markers apart."""
        for page in self._pages(prefix, "list_objects_v2", {"ContinuationToken": "NextContinuationToken"}):
            for found in page.get("Contents", []):
                key = self._relative(found["Key"])
                if key and not key.endswith("/"):
                    yield Entry(key, found["Size"], found["ETag"], found["LastModified"].astimezone(UTC))

    def _pages(self, prefix: str, call: str, following: dict[str, str]) -> Iterator[dict[str, Any]]:
        """A listing's pages; `following`: what the next request says, and which field of the answer holds it."""
        folder = "".join(f"{part}/" for part in (self.prefix, prefix.strip("/")) if part)
        position: dict[str, str] = {}
        while True:
            request = {"Bucket": self.connection.bucket, "Prefix": folder} | position
            page = self._repeated("", self.connection.files.call_s3, call, **request)
            yield page
            if not page.get("IsTruncated"):
                return
            position = {name: page[field] for name, field in following.items()}

    def head(self, key: str) -> Entry | None:
        try:
            found = self._repeated(key, obstore.head, self.connection.client, self._key(key))
        except NotFound:
            return None
        return Entry(key, found["size"], found["e_tag"] or "", found["last_modified"])

    def read(self, key: str) -> bytes:
        return self._repeated(key, lambda: obstore.get(self.connection.client, self._key(key)).bytes().to_bytes())

    def read_range(self, key: str, start: int, length: int) -> bytes:
        return self._repeated(key, self._ranged, key, start, length)

    def _ranged(self, key: str, start: int, length: int) -> bytes:
        if length == 0:
            return b""
        try:
            return obstore.get_range(self.connection.client, self._key(key), start=start, length=length).to_bytes()
        except obstore.exceptions.GenericError as error:
            if "status code: 416" in str(error):
                return b""
            raise

    def open(self, key: str) -> io.BufferedIOBase:
        path = f"{self.connection.bucket}/{self._key(key)}"
        file = self._repeated(key, lambda: self.connection.files.open(path, "rb"))
        return io.BufferedReader(_Reader(self, key, file), 1 << 20)

    def put(self, key: str, data: bytes) -> str:
        return self._repeated(key, self._put, key, data, "overwrite", len(data) > SINGLE_PUT_BYTES)

    def create(self, key: str, data: bytes) -> str:
        return self.connection.once(self._url(key), self._put, key, data, "create", False)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self.connection.once(self._url(key), self._put, key, data, {"e_tag": etag}, False)

    def _put(self, key: str, data: bytes, mode: Any, in_parts: bool) -> str:
        client, full = self.connection.client, self._key(key)
        return obstore.put(client, full, data, mode=mode, use_multipart=in_parts)["e_tag"] or ""

    def delete(self, keys: Iterable[str]) -> None:
        remaining = iter(keys)
        while some := [self._key(key) for key in itertools.islice(remaining, 1000)]:
            self._repeated("", obstore.delete, self.connection.client, some)

    def leftovers(self, prefix: str = "") -> Iterator[Entry]:
        yield from (entry for entry in self._listed(prefix) if _name(entry).startswith(PROBE))
        following = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        for page in self._pages(prefix, "list_multipart_uploads", following):
            for found in page.get("Uploads", []):
                begun = found["Initiated"].astimezone(UTC)
                yield Entry(self._relative(found["Key"]), 0, found["UploadId"], begun)

    def clear(self, leftover: Entry) -> None:
        if _name(leftover).startswith(PROBE):
            self.delete([leftover.key])
            return
        upload = {"Bucket": self.connection.bucket, "Key": self._key(leftover.key), "UploadId": leftover.etag}
        with suppress(NotFound):
            self._repeated(leftover.key, self.connection.files.call_s3, "abort_multipart_upload", **upload)

    def child(self, prefix: str) -> Self:
        return type(self)(self.connection, self._key(prefix.strip("/")))

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        self.connection.contact(self._url(""))
        system = pafs.S3FileSystem(
            anonymous=self.connection.anonymous,
            region=self.connection.region,
            connect_timeout=CONNECT_SECONDS,
            request_timeout=READ_SECONDS,
            **self._address(),
            **self._repeated("", self.connection.credentials),
        )
        return system, f"{self.connection.bucket}/{self.prefix}".rstrip("/")

    def ray_url(self, prefix: str = "") -> str:
        address = {"region": self.connection.region} | self._address()
        path = f"{self.url}/{prefix.strip('/')}".rstrip("/")
        return f"{path}?{urllib.parse.urlencode(address)}"

    def _address(self) -> dict[str, str]:
        """The endpoint as pyarrow wants it."""
        if self.connection.endpoint is None:
            return {}
        scheme, _, host = self.connection.endpoint.rpartition("://")
        return {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}".strip("/") if self.prefix else key

    def _relative(self, full: str) -> str:
        return full[len(self.prefix) + 1 :] if self.prefix else full

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}".rstrip("/")

    def _repeated(self, key: str, function: Any, *arguments: Any, **options: Any) -> Any:
        return self.connection.repeated(self._url(key), function, *arguments, **options)


def _name(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]


class _Reader(io.RawIOBase):
    """An s3fs file whose reads are repeated and whose errors are the store's."""

    def __init__(self, store: S3Store, key: str, file: Any) -> None:
        super().__init__()
        self._store, self._key, self._file = store, key, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        start, size = self._file.tell(), len(buffer)
        data = self._store._repeated(self._key, self._read, start, size)
        buffer[: len(data)] = data
        return len(data)

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        super().close()
