"""A directory tree as entries: streamed, whatever it holds, and keys for names that are not UTF-8.

Such a name is percent-escaped in its key (with its own `%` as `%25`, and `%00` before it as often as it takes to differ
from a neighbour that is spelled so), so that every file has one key and every key one file.
"""

import errno
import os
import re
import stat
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.storage.contract import HIDDEN, Entry

_RAW = re.compile("[\udc80-\udcff%]")
_EFFECTIVE = os.access in os.supports_effective_ids
_BROKEN = {errno.ENOENT: "dangling_link", errno.ENOTDIR: "dangling_link", errno.ELOOP: "link_loop"}


@dataclass(frozen=True)
class _Folder:
    """A folder still to be read; `inside` are the (device, inode) of it and of the folders it lies in."""

    path: str
    prefix: str
    status: os.stat_result
    inside: frozenset[tuple[int, int]]


def walk(top: str, prefix: str) -> Iterator[Entry]:
    """Everything below the folder `top`, in the order of the file system; links are followed, but not in a circle.

    Memory is that of the folders found and not yet read. Raises OSError for `top` alone.
    """
    try:
        status = os.stat(top)
    except (FileNotFoundError, NotADirectoryError):
        return
    waiting = [_Folder(top, prefix, status, frozenset([_identity(status)]))]
    while waiting:
        folder = waiting.pop()
        try:
            scan = os.scandir(folder.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            if folder.path == top:
                raise
            yield _faulty(folder.prefix, folder.status, "unreadable_folder")
            continue
        with scan:
            for one in scan:
                if not one.name.startswith(HIDDEN):
                    yield from _seen(one, folder, waiting)


def _seen(one: os.DirEntry[str], folder: _Folder, waiting: list[_Folder]) -> Iterator[Entry]:
    """A file as its entry; a folder joins those that are waiting; what vanished since is nothing."""
    key = folder.prefix + _name(one, folder.path)
    try:
        status = one.stat()
    except OSError as error:
        yield from _without_status(one, key, error.errno)
        return
    if stat.S_ISDIR(status.st_mode):
        if (identity := _identity(status)) in folder.inside:
            yield _faulty(key, status, "link_loop")
        else:
            waiting.append(_Folder(one.path, key + "/", status, folder.inside | {identity}))
    elif not stat.S_ISREG(status.st_mode):
        yield _faulty(key, status, "not_regular")
    elif not os.access(one.path, os.R_OK, effective_ids=_EFFECTIVE):
        yield _faulty(key, status, "unreadable")
    else:
        yield entry_of(key, status)


def _without_status(one: os.DirEntry[str], key: str, number: int | None) -> Iterator[Entry]:
    """A link that leads nowhere or to itself, or a path that the system does not take; nothing where it vanished."""
    reason = _BROKEN.get(number or 0, "unreadable")
    try:
        yield _faulty(key, one.stat(follow_symlinks=False), reason)
    except FileNotFoundError:
        return
    except OSError:
        yield Entry(key, 0, "", datetime.fromtimestamp(0, UTC), reason)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _name(one: os.DirEntry[str], folder: str) -> str:
    """The file name as a part of a key."""
    key = key_part(one.name)
    while key != one.name and os.path.lexists(os.path.join(folder, key)):
        key = "%00" + key
    return key


def key_part(name: str) -> str:
    """A file name as a part of a key: as it stands, and percent-escaped where it is not UTF-8, so where it has halves
    of surrogate pairs for single bytes (PEP 383). A neighbour that is spelled so is not known here."""
    if name.isascii() or not _is_raw(name):
        return name
    return _RAW.sub(lambda match: f"%{os.fsencode(match[0]).hex().upper()}", name)


def _is_raw(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def found(root: str, key: str) -> str:
    """The path below `root` of a key with a `%`: each part is a name as it stands, else one that `walk` has escaped."""
    path = root
    for name in key.split("/"):
        path = os.path.join(path, _unescaped(path, name))
    return path


def _unescaped(folder: str, name: str) -> str:
    """Only names that are no UTF-8 were ever escaped, so a key never means the file of another spelling."""
    raw = urllib.parse.unquote_to_bytes(name).lstrip(b"\0")
    other = os.fsdecode(raw)
    escaped = "%" in name and b"/" not in raw and b"\0" not in raw and _is_raw(other)
    if not escaped or os.path.lexists(os.path.join(folder, name)):
        return name
    return other if os.path.lexists(os.path.join(folder, other)) else name


def _faulty(key: str, status: os.stat_result, fault: str) -> Entry:
    return Entry(key, status.st_size, etag_of(status), datetime.fromtimestamp(status.st_mtime, UTC), fault)


def entry_of(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, etag_of(status), datetime.fromtimestamp(status.st_mtime, UTC))


def etag_of(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"
