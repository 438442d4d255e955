"""What an archive lists, in one order for all stores, for tests."""

from pipelines.sources.archive import Archive
from pipelines.sources.members import ArchiveEntry


def sorted_entries(archive: Archive, prefix: str = "") -> list[ArchiveEntry]:
    """The files in a folder by their keys, without the folders that cannot be entered."""
    files = (entry for entry in archive.stream(prefix) if not entry.key.endswith("/"))
    return sorted(files, key=lambda entry: entry.key)
