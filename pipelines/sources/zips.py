"""Metadata files in a zip of the archive, read as a stream: nothing is unpacked, what a member claims is bounded.

`x.zip!/member` is a key beside the store's own ones, as it is for tar members. A member that names no plain relative
path, is encrypted, or would unpack to more than MOST_BYTES or MOST_RATIO times its size is refused.
"""

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from infra.storage import NotFound, StorageError, Store
from pipelines.errors import DataRefused
from pipelines.sources.reading import BadPath, archive_key

MARK = ".zip!/"
MOST_BYTES = 8 << 30
"""Bytes of one unpacked member: some thirty million rows of a media table."""
MOST_RATIO = 200
"""Real tables were seen to shrink two to eleven times; a bomb shrinks a thousand times."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError,
           ValueError)  # fmt: skip
"""What zipfile raises on damaged, encrypted and exotic members; OSError, too, unless it is the store's own."""


def zip_folder(path: str) -> str:
    """`x.zip` as the folder `x.zip!`; any other folder as it is."""
    return f"{path}!" if path.lower().endswith(".zip") else path


class WithZips:
    """A store that also opens the members of its zips; they are closed at the end of `with`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._opened: dict[str, zipfile.ZipFile] = {}
        self._files: list[io.BufferedIOBase] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in [*self._opened.values(), *self._files]:
            file.close()

    def names(self, folder: str) -> Iterator[str]:
        """Keys of the files that lie directly in a folder, of the store or of a zip (`x.zip!`, `x.zip!/folder`)."""
        inside = folder.rstrip("/") + "/" if folder.rstrip("/") else ""
        container, member = _parted(inside)
        if container is None:
            found: Iterable[str] = (entry.key for entry in self._store.list(folder))
        else:
            listed = self._zip(container).namelist()
            found = (f"{container}!/{name}" for name in listed if name.startswith(member) and _plain(name))
        return (key for key in found if "/" not in key[len(inside) :])

    def open(self, key: str) -> io.BufferedIOBase:
        """Raises NotFound, and DataRefused for a member that is damaged, encrypted or too large."""
        container, member = _parted(key)
        if container is None:
            return self._store.open(key)
        archive = self._zip(container)
        try:
            info = archive.getinfo(member)
        except KeyError:
            near = [name for name in archive.namelist() if name.endswith("/" + member.rpartition("/")[2])]
            hint = f"; did you mean {container}!/{near[0]}?" if near else ""
            raise NotFound(f"{self._store.url}/{key}: no such file in this zip{hint}") from None
        _check_size(info, f"{self._store.url}/{key}")
        with _damage_in(f"{self._store.url}/{key}"):
            return io.BufferedReader(_Member(archive.open(info), f"{self._store.url}/{key}"), 1 << 16)

    def read(self, key: str) -> bytes:
        if _parted(key)[0] is None:
            return self._store.read(key)
        with self.open(key) as file:
            return file.read()

    def _zip(self, container: str) -> zipfile.ZipFile:
        if container not in self._opened:
            self._files.append(self._store.open(container))
            with _damage_in(f"{self._store.url}/{container}"):
                self._opened[container] = zipfile.ZipFile(self._files[-1])  # type: ignore[arg-type]
        return self._opened[container]


class _Member(io.RawIOBase):
    """The unpacked bytes of a member; damage met on the way raises DataRefused."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._checked(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._checked(self._file.read, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _checked(self, method: Any, *arguments: int) -> Any:
        with _damage_in(self._name):
            return method(*arguments)


def _parted(key: str) -> tuple[str | None, str]:
    """Zip and member of a key; None for a key of the store itself."""
    position = key.lower().find(MARK)
    if position < 0:
        return None, key
    end = position + len(MARK)
    return key[: end - 2], key[end:]


def _plain(name: str) -> bool:
    try:
        archive_key(name)
    except BadPath:
        return False
    return True


def _check_size(info: zipfile.ZipInfo, name: str) -> None:
    """zipfile never unpacks more than a member claims, so its claim is what to bound."""
    if info.file_size > MOST_BYTES or info.file_size > MOST_RATIO * max(info.compress_size, 1 << 16):
        raise DataRefused(f"{name}: {info.compress_size} bytes that claim to unpack to {info.file_size} are not read")


@contextmanager
def _damage_in(name: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except _DAMAGE as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise DataRefused(f"{name}: not a readable zip ({told})") from None
