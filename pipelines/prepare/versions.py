"""Version documents. Creating `versions/N.json` is the commit: samples, records and ledger change at once.

A version is retired by overwriting its document with a tombstone. A document is never deleted: a writer that slept
could create it again.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from infra.lock import Lock, held
from infra.storage import AlreadyExists, Conflict, Store, Unreachable
from pipelines.errors import Failed, NotFound
from pipelines.prepare.digests import canonical

FORMAT = "xmodal-dataset-1"
RETIRED = "xmodal-retired-1"
"""Format of a tombstone."""
LOCKS = "locks"
LEASE_SECONDS = 30.0
"""Of a dataset's lock. A run that was killed blocks the next one for 1.25 times this long."""
UNIDENTIFYING = ("version", "parent", "commit_id", "fence", "created_at", "digest")
"""Fields that say when and by whom, not what: they do not enter the digest."""

Document = dict[str, Any]


def home(store: Store, name: str) -> Store:
    """Where a dataset lives below the storage root."""
    return store.child(f"datasets/{name}")


def locked(store: Store, name: str, lease: float = LEASE_SECONDS) -> AbstractContextManager[Lock]:
    """The lock of whatever writes the dataset. Raises infra.lock.Locked."""
    return held(store, f"{LOCKS}/prepare-{name}.json", lease)


def path(version: int) -> str:
    return f"versions/{version:08d}.json"


def numbers(dataset: Store) -> list[int]:
    """All version numbers ever used, rising; retired ones among them."""
    names = [entry.key.rpartition("/")[2] for entry in dataset.list("versions")]
    return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit())


def read(dataset: Store, version: int) -> Document:
    """Raises NotFound for a version that is not there or was retired."""
    if version not in (there := numbers(dataset)):
        told = f"versions there: {', '.join(map(str, there))}" if there else "it has no version; run xmodal prepare"
        raise NotFound(f"{dataset.url}: no version {version}; {told}")
    document = json.loads(dataset.read(path(version)))
    if document.get("format") == RETIRED:
        raise NotFound(f"{dataset.url}: version {version} was retired: {document['why']}; use the newest version")
    if document.get("format") != FORMAT:
        raise NotFound(_other_format(dataset, version, document))
    return document


def latest(dataset: Store) -> Document | None:
    """The newest version that is not retired. Raises NotFound where it is of a format that is not known."""
    for version in reversed(numbers(dataset)):
        document = json.loads(dataset.read(path(version)))
        if document.get("format") == FORMAT:
            return document
        if document.get("format") != RETIRED:
            raise NotFound(_other_format(dataset, version, document))
    return None


def _other_format(dataset: Store, version: int, document: Document) -> str:
    found = document.get("format")
    return f"{dataset.url}: version {version} is of format {found}, this release reads {FORMAT}; take a newer xmodal"


def live(dataset: Store) -> list[Document]:
    """All versions that are not retired, rising. Raises Failed for one of a format that is not known: what it names
    cannot be told."""
    documents = {version: json.loads(dataset.read(path(version))) for version in numbers(dataset)}
    for version, document in documents.items():
        if document.get("format") not in (FORMAT, RETIRED):
            raise Failed(_other_format(dataset, version, document))
    return [document for document in documents.values() if document["format"] == FORMAT]


def entries(document: Document) -> list[Document]:
    """Everything stored that a version names: parts of all kinds, and vocabularies."""
    named = [*document["pixels"], *document["records"], *document["ledger"], *document["vocabularies"]]
    return named + [part for one in document["features"] for part in one["parts"]]


def retire(dataset: Store, document: Document, why: str, fence: int) -> None:
    """Overwrites a version with a tombstone. Raises Failed where the document was changed by another writer."""
    name = path(document["version"])
    kept = {key: document[key] for key in ("version", "parent", "dataset", "digest", "created_at")}
    retired_at = datetime.now(UTC).isoformat(timespec="seconds")
    tombstone = {"format": RETIRED, **kept, "why": why, "fence": fence, "retired_at": retired_at}
    found = dataset.head(name)
    try:
        dataset.replace(name, json.dumps(tombstone, indent=1).encode(), found.etag if found else "")
    except (Conflict, Unreachable):
        if json.loads(dataset.read(name)) != tombstone:  # else the answer alone was lost
            raise Failed(f"{dataset.url}: version {document['version']} could not be retired; run again") from None


def listing_digest(files: Iterable[tuple[str, str, int]]) -> str:
    """Of every (key, etag, size) that an archive listed, sorted: the digest of their list, which need not be one."""
    found = hashlib.sha256(b"[[")
    for number, row in enumerate(files):
        found.update(b"," * (number > 0) + canonical(row))
    found.update(b"]]")
    return found.hexdigest()


def content_digest(document: Document) -> str:
    """SHA-256 of what a version holds."""
    content = {name: value for name, value in document.items() if name not in UNIDENTIFYING}
    return hashlib.sha256(canonical(content)).hexdigest()


def commit(dataset: Store, content: Document, number: int, parent: int | None, fence: int) -> Document:
    """Creates version `number`. Raises Failed where another writer took that number: nothing of ours is visible."""
    document = {
        "format": FORMAT,
        "version": number,
        "parent": parent,
        "commit_id": secrets.token_hex(16),
        "fence": fence,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "digest": content_digest({"format": FORMAT} | content),
    } | content
    try:
        dataset.create(path(number), json.dumps(document, indent=1, ensure_ascii=False).encode())
    except (AlreadyExists, Unreachable):
        if not _is_ours(dataset, number, document["commit_id"]):
            raise Failed(
                f"{dataset.url}: version {number} could not be created or was made by another run; run again"
            ) from None
    return document


def _is_ours(dataset: Store, number: int, commit_id: str) -> bool:
    """Whether a create whose answer was lost has succeeded."""
    if dataset.head(path(number)) is None:
        return False
    return json.loads(dataset.read(path(number))).get("commit_id") == commit_id
