"""A prefix of an S3 bucket as a store: obstore for bytes and conditional writes, s3fs for listings.

s3fs also reads the keys that obstore does not take: botocore sends every key as it is."""

import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any, Self, cast

import obstore
import pyarrow.fs as pafs
from fsspec.asyn import sync

from infra.storage.connection import CONNECT_SECONDS, READ_SECONDS, Connection, status_of
from infra.storage.contract import HIDDEN, PROBE, Conflict, Denied, Entry, NotFound, Store, Unreadable
from infra.storage.ranged import FIRST_WINDOW, RangedFile

SINGLE_PUT_BYTES = 64 << 20
"""Above this a put goes in parts, still visible only when complete; its etag is then no md5."""
_ODD = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f]")
"""Empty, `.` and `..` segments and control characters: obstore refuses them, and drops a slash at the end."""


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

    @property
    def etags_of_content(self) -> bool:
        """It is an MD5, of an upload in parts that of its parts' MD5s, of encrypted objects something of their own."""
        return True

    def stream(self, prefix: str = "") -> Iterator[Entry]:
        """Page by page of 1,000 keys, each exactly as the server names it.

        Objects of no bytes whose key ends in a slash are the markers by which some tools show folders, and left out."""
        return (entry for entry in self._listed(prefix) if not _name(entry).startswith(HIDDEN))

    def _listed(self, prefix: str) -> Iterator[Entry]:
        """All objects, hidden ones too, folder markers apart."""
        for page in self._pages(prefix, "list_objects_v2", {"ContinuationToken": "NextContinuationToken"}):
            for found in page.get("Contents", []):
                key = self._relative(found["Key"])
                if key and (found["Size"] or not key.endswith("/")):
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
            return self._found(key)
        except NotFound:
            return None

    def _found(self, key: str) -> Entry:
        return self._repeated(key, self._head_odd if self._is_odd(key) else self._head, key)

    def _head(self, key: str) -> Entry:
        found = obstore.head(self.connection.client, self._key(key))
        return Entry(key, found["size"], found["e_tag"] or "", found["last_modified"])

    def _head_odd(self, key: str) -> Entry:
        answer = self._exactly(key, "head_object")
        return Entry(key, answer["ContentLength"], answer["ETag"], answer["LastModified"].astimezone(UTC))

    def read(self, key: str) -> bytes:
        if self._is_odd(key):
            return self._repeated(key, self._exactly, key, "get_object")["Body"]
        return self._repeated(key, lambda: obstore.get(self.connection.client, self._key(key)).bytes().to_bytes())

    def read_range(self, key: str, start: int, length: int) -> bytes:
        return self._repeated(key, self._ranged, key, None, start, length) if length else b""

    def _ranged(self, key: str, etag: str | None, start: int, length: int) -> bytes:
        """Of the version `etag`, where one is given; Conflict says that the object has another by now."""
        try:
            if self._is_odd(key):
                asked = {"Range": f"bytes={start}-{start + length - 1}"} | ({"IfMatch": etag} if etag else {})
                return self._exactly(key, "get_object", **asked)["Body"]
            options: Any = {"range": (start, start + length)}
            options |= {"if_match": etag} if etag else {}
            return obstore.get(self.connection.client, self._key(key), options=options).bytes().to_bytes()
        except (obstore.exceptions.GenericError, OSError) as error:
            if status_of(error) == 416:
                return b""
            raise

    def _exactly(self, key: str, operation: str, **request: Any) -> dict[str, Any]:
        """The answer for a key that obstore does not take, its body read; a server that refuses it refuses this key."""
        files = self.connection.files
        request |= {"Bucket": self.connection.bucket, "Key": self._key(key)}
        try:
            return cast(dict[str, Any], sync(files.loop, _answer, files, operation, request))
        except OSError as error:
            if status_of(error) in (400, 403):
                raise Unreadable(f"{self._url(key)}: {self.connection.place} does not take this key") from None
            raise

    def _is_odd(self, key: str) -> bool:
        return _ODD.search(self._key(key)) is not None

    def open(self, key: str) -> io.BufferedIOBase:
        entry = self._found(key)
        part = partial(self._part, key, entry.etag)
        return io.BufferedReader(RangedFile(part, entry.size), FIRST_WINDOW)

    def _part(self, key: str, etag: str, start: int, length: int) -> bytes:
        """Raises Unreadable where another version stands there by now: what was read before does not go with it."""
        try:
            return self._repeated(key, self._ranged, key, etag, start, length)
        except Conflict:
            raise Unreadable(f"{self._url(key)}: was changed while it was read; run again") from None

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
        if self.connection.requester_pays:
            raise Denied(f"{self.url}: pyarrow cannot ask to pay for requests; copy what it is to read")
        self.connection.contact(self._url(""))
        system = pafs.S3FileSystem(
            anonymous=self.connection.anonymous,
            region=self.connection.region,
            connect_timeout=CONNECT_SECONDS,
            request_timeout=READ_SECONDS,
            retry_strategy=pafs.AwsDefaultS3RetryStrategy(max_attempts=_attempts(self.connection.patience)),
            **self._address(),
            **self._repeated("", self.connection.credentials),
        )
        return system, f"{self.connection.bucket}/{self.prefix}".rstrip("/")

    def _address(self) -> dict[str, str]:
        """The endpoint as pyarrow wants it."""
        if self.connection.endpoint is None:
            return {}
        scheme, _, host = self.connection.endpoint.rpartition("://")
        return {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix and key else self.prefix or key

    def _relative(self, full: str) -> str:
        return full[len(self.prefix) + 1 :] if self.prefix else full

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}".rstrip("/")

    def _repeated(self, key: str, function: Any, *arguments: Any, **options: Any) -> Any:
        return self.connection.repeated(self._url(key), function, *arguments, **options)


def _attempts(patience: float) -> int:
    """How often pyarrow is to ask: its pauses begin at 25 ms and double, so they add up to some `patience` seconds. Its
    standard strategy has a quota of retries, which a few reads at once use up."""
    return max(1, round(math.log2(patience / 0.025)))


def _name(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]


async def _answer(files: Any, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    answer = await files._call_s3(operation, **request)
    if "Body" in answer:
        async with answer["Body"] as body:
            answer["Body"] = await body.read()
    return answer
