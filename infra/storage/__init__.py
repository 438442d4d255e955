"""Object storage behind one interface: a directory or an S3 prefix. Knows nothing of Ray.

`open_store` gives a Store (contract.py): listing, reads, atomic and conditional writes, pyarrow's file system. Every
commit and lock of the project is a conditional write of one small object. `Linked` adds the files of allowed `https://`
hosts. Credentials come from the AWS_* environment or profile alone and are never held in a Store.
"""

import os
import urllib.parse

from infra.secrecy import has_login
from infra.storage.address import host_of, is_address
from infra.storage.connection import Connection
from infra.storage.contract import (
    AlreadyExists,
    Conflict,
    Denied,
    Entry,
    NotFound,
    StorageError,
    Store,
    Unreachable,
    Unreadable,
)
from infra.storage.folders import key_part
from infra.storage.linked import Linked
from infra.storage.local import LocalStore
from infra.storage.s3 import S3Store
from infra.storage.web import Web

__all__ = [
    "AlreadyExists",
    "Conflict",
    "Denied",
    "Entry",
    "Linked",
    "LocalStore",
    "NotFound",
    "S3Store",
    "StorageError",
    "Store",
    "Unreachable",
    "Unreadable",
    "Web",
    "host_of",
    "is_address",
    "key_part",
    "open_store",
]


def open_store(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
    requester_pays: bool = False,
    patience: float = 120.0,
) -> Store:
    """The store at `url`, `s3://bucket/prefix` or a local directory; nothing is contacted yet.

    endpoint: S3 server, default AWS_ENDPOINT_URL, else AWS. region: default AWS_REGION, AWS_DEFAULT_REGION, us-east-1.
    anonymous: unsigned requests, for public archives. requester_pays: agrees to pay for what is asked of the bucket.
    patience: seconds for which a call that may be repeated is retried on connection errors. Raises NotFound for an
    address of another kind, Denied for an endpoint with a password.
    """
    address = urllib.parse.urlsplit(url)
    foreign = "://" in url and address.scheme not in ("file", "s3")
    if not url or foreign or (address.scheme == "s3" and not address.netloc):
        raise NotFound(f"{url!r}: not a storage address; give a directory or s3://bucket/prefix")
    if address.scheme != "s3":
        return LocalStore(os.path.abspath(os.path.expanduser(url.removeprefix("file://"))))
    place = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    reached = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if has_login(reached or ""):
        raise Denied(f"s3://{address.netloc}: its endpoint holds a user name or a password; set AWS_* variables")
    path = url.removeprefix(f"s3://{address.netloc}").strip("/")
    return S3Store(Connection(address.netloc, reached or None, place, anonymous, patience, requester_pays), path)
