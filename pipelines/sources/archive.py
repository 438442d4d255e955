"""An archive as a flat listing: loose objects and, in their place, the members of tars and zips, and rows of features.

A member's key is `x.tar!/member`. Nothing is ever unpacked to a file: a member's bytes go from its container to memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from infra.storage import Entry, NotFound, Store, Unreachable, Unreadable, is_address
from pipelines.sources.gzip_members import COMPRESSED_TAR
from pipelines.sources.members import ArchiveEntry, Content, Format, Index, Members
from pipelines.sources.npy_members import NPY
from pipelines.sources.schema import Refused
from pipelines.sources.tar_members import TAR
from pipelines.sources.zip_members import ZIP

FORMATS: tuple[Format, ...] = (TAR, COMPRESSED_TAR, ZIP, NPY)

_INDEXES: dict[tuple[str, str, str], Index] = {}
"""Indexes of this process by store, container and etag: a changed container is another one."""


class Archive:
    """The files of a survey's store. `refused` counts the members that were left out so far, each once; `shut` is how
    the keys begin of what lies in containers and folders that could not be read so far.

    A container that cannot be listed to its end is listed itself beside the members found before, so that the damage
    shows in every count of files.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refused = Refused()
        self.shut: set[str] = set()
        self._counted: set[tuple[str, str]] = set()

    def stream(self, prefix: str = "") -> Iterator[ArchiveEntry]:
        """All there is in the folder `prefix`, in the store's order, members in the place of their container; what
        cannot be read comes with its reason (a folder, too). Raises what infra.storage raises.

        Memory does not grow with the number of loose objects; the members of the containers are remembered."""
        for entry in self._store.stream(prefix):
            loose = ArchiveEntry(entry.key, entry.size, entry.etag, entry.modified, reason=entry.fault)
            form = format_of(entry.key)
            if form is None or entry.fault:
                if entry.fault and (form or entry.key.endswith("/")):
                    self.shut.add(_beginning(entry.key))
                yield loose
                continue
            try:
                index = self._index(form, entry)
            except NotFound:  # since it was listed
                yield replace(loose, reason="missing")
                continue
            if (entry.key, entry.etag) not in self._counted:
                self._counted.add((entry.key, entry.etag))
                self.refused.extend(index.refused)
            if index.unreadable:
                self.shut.add(_beginning(entry.key))
            if not index.whole:
                yield replace(loose, reason=index.unreadable)
            yield from index.members

    def read(self, entry: ArchiveEntry) -> bytes:
        """The bytes of a file. Raises NotFound, Unreadable with a reason, and what infra.storage raises."""
        if entry.reason:
            raise Unreadable(f"{self._store.url}/{entry.key}: {entry.reason}", entry.reason)
        form = format_of(entry.container)
        return self._store.read(entry.key) if form is None else form.read(self._store, entry)

    def content(self, entry: ArchiveEntry) -> Content:
        """The bytes of a file, or what is wrong with this one file alone (or its web server, which is not the store).
        Raises what concerns the whole store."""
        try:
            return self.read(entry)
        except NotFound:
            return None
        except Unreadable as error:
            return error
        except Unreachable as error:
            if not is_address(entry.key):
                raise
            return Unreadable(str(error), "unreachable")

    def streamed(self, entries: Iterable[ArchiveEntry]) -> Iterator[tuple[ArchiveEntry, Content]]:
        """The contents of members for which `is_streamed` holds, one pass a container."""
        containers: dict[str, list[ArchiveEntry]] = {}
        for entry in entries:
            containers.setdefault(str(entry.container), []).append(entry)
        for container, members in containers.items():
            form = format_of(container)
            assert form is not None and form.stream is not None
            yield from form.stream(self._store, members)

    def _index(self, form: Format, entry: Entry) -> Index:
        """What a container holds; one that cannot be read is opened again by the next listing. Raises NotFound."""
        identity = (self._store.url, entry.key, entry.etag)
        if identity in _INDEXES:
            return _INDEXES[identity]
        try:
            with self._store.open(entry.key) as file:
                index = form.index(file, entry)
        except Unreadable as error:
            return Members(entry).index(error)
        if index.unreadable is None:
            _INDEXES[identity] = index
        return index


def _beginning(key: str) -> str:
    """Of the keys of what lies in a container or folder."""
    return key if key.endswith("/") else f"{key}!/"


def format_of(key: str | None) -> Format | None:
    """The kind of container that a key names."""
    return next((form for form in FORMATS if (key or "").lower().endswith(form.suffixes)), None)


def is_streamed(entry: ArchiveEntry) -> bool:
    """Whether a file lies in a container that is read in one pass."""
    form = format_of(entry.container)
    return form is not None and form.stream is not None
