"""Containers for tests, and what an archive lists, in one order for all stores."""

import io
import zipfile

from pipelines.sources.archive import Archive
from pipelines.sources.members import ArchiveEntry


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


def sorted_entries(archive: Archive, prefix: str = "") -> list[ArchiveEntry]:
    """The files in a folder by their keys, without the folders that cannot be entered."""
    files = (entry for entry in archive.stream(prefix) if not entry.key.endswith("/"))
    return sorted(files, key=lambda entry: entry.key)
