"""A Store as pyarrow's file system, for Ray: what it keeps of a run is written in one step each, and with patience.

pyarrow's own file systems give up after seconds, and on a local disk a reader may see half a file.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.fs as pafs

from infra.storage.contract import StorageError, Store
from infra.storage.patience import repeated


@dataclass(frozen=True, eq=True)
class StoreFiles(pafs.FileSystemHandler):
    """Handler of `pyarrow.fs.PyFileSystem`; paths are keys of `store`. What the store refuses is tried again for
    `patience` seconds, as what it does not answer is. Has what Ray Train and Ray Tune call, and no more."""

    store: Store
    patience: float

    def get_type_name(self) -> str:
        return "xmodal"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> pafs.FileInfo:
        entry = self.store.head(path)
        if entry is not None:
            return pafs.FileInfo(path, pafs.FileType.File, size=entry.size)
        below = next(self.store.stream(path), None)
        return pafs.FileInfo(path, pafs.FileType.NotFound if below is None else pafs.FileType.Directory)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """What lies below a folder, of all depths or of the next one alone."""
        base, found = selector.base_dir.strip("/"), dict[str, pafs.FileInfo]()
        for entry in self.store.list(f"{base}/"):
            *folders, _ = names = entry.key.removeprefix(f"{base}/").split("/")
            for depth in range(1, len(folders) + 1):
                path = "/".join([base, *names[:depth]])
                found[path] = pafs.FileInfo(path, pafs.FileType.Directory)
            found[entry.key] = pafs.FileInfo(entry.key, pafs.FileType.File, size=entry.size)
        near = base.count("/") + 1
        return [info for path, info in sorted(found.items()) if selector.recursive or path.count("/") == near]

    def create_dir(self, path: str, recursive: bool) -> None:
        """Folders come with what lies in them."""

    def delete_dir(self, path: str) -> None:
        self.store.delete_folder(path)

    def delete_file(self, path: str) -> None:
        self.store.delete([path])

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(self.store.open(path), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.BufferReader(self.store.read(path))

    def open_output_stream(self, path: str, metadata: dict[str, str] | None) -> pa.NativeFile:
        return pa.PythonFile(_Written(lambda data: self._put(path, data)), mode="w")

    def _put(self, path: str, data: bytes) -> None:
        repeated(self.patience, lambda: self.store.put(path, data), StorageError)

    def _unused(self, *arguments: Any) -> NoReturn:
        raise NotImplementedError("Ray did not call this when it was written")

    open_append_stream = copy_file = move = _unused
    delete_dir_contents = delete_root_dir_contents = _unused


class _Written(io.BytesIO):
    """Bytes that `put` gets as a whole when the file is closed."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        super().__init__()
        self._put = put

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            self._put(data)
