"""Zips (PKWARE APPNOTE 6.3.10, with zip64): the central directory lists one, a member is one ranged GET.

Stored and deflated members are read, bounded in size and ratio and checked against their CRC-32. Members that are
encrypted, packed by another method, or share bytes with another one (as bombs do) are listed with a reason. Zips of
several disks are not read.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from itertools import pairwise

from infra.storage import Entry, Store, Unreadable
from pipelines.sources.members import (
    LARGEST_MEMBER,
    MOST_MEMBERS,
    MOST_RATIO,
    SMALL,
    ArchiveEntry,
    Damaged,
    Format,
    Index,
    Members,
    Packed,
    listed,
)
from pipelines.sources.reading import BadPath
from pipelines.sources.zip_directory import LOCAL, LOCAL_FIELDS, Record, find_directory, records

STORED, DEFLATED = 0, 8
LONGEST_LOCAL = LOCAL_FIELDS.size + 2 * 0xFFFF
"""Bytes of a local header with the longest name and extra field."""
_UNIX, _MAC = 3, 19
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000


def _index(file: BufferedIOBase, container: Entry) -> Index:
    members = Members(container)
    return listed(members, _found(file, members))


def _found(file: BufferedIOBase, members: Members) -> Iterator[ArchiveEntry]:
    """What the directory names, in its order; where it breaks off, what it names before."""
    directory = find_directory(file, members.container.size)
    found: list[Record] = []
    damage = None
    try:
        for record in records(file, directory):
            if len(found) > MOST_MEMBERS:
                raise Damaged(f"more than {MOST_MEMBERS} members", "too_many_members")
            found.append(record)
    except Damaged as error:
        damage = error
    ends = _ends(found, directory.start)
    for record, end in zip(found, ends, strict=True):
        yield from _member(record, end, members)
    if damage is not None:
        raise damage


def _ends(found: list[Record], last: int) -> list[int]:
    """Where the room of each record ends: at the next local header, or at the directory."""
    order = sorted(range(len(found)), key=lambda position: found[position].offset)
    ends = [0] * len(found)
    for position, following in pairwise(order):
        ends[position] = found[following].offset
    if order:
        ends[order[-1]] = last
    return ends


def _member(record: Record, end: int, members: Members) -> Iterator[ArchiveEntry]:
    """A regular member with a plain relative name, else nothing, and it is counted."""
    if record.name.endswith("/") and not record.size:
        return
    try:
        if not _is_regular(record):
            raise BadPath("member_not_regular")
        key = members.key(record.name)
    except BadPath as fault:
        members.refuse(fault, record.name)
        return
    container = members.container
    yield ArchiveEntry(
        key=key,
        size=record.size,
        etag=f"crc32:{record.crc:08x}",
        modified=container.modified,
        container=container.key,
        offset=record.offset,
        packed=Packed(
            min(end - record.offset, LONGEST_LOCAL + record.length), record.length, record.method, record.crc
        ),
        reason=_fault(record, end),
    )


def _is_regular(record: Record) -> bool:
    """Systems other than Unix state no kind of file."""
    kind = stat.S_IFMT(record.attributes >> 16) if record.system in (_UNIX, _MAC) else 0
    return kind in (0, stat.S_IFREG)


def _fault(record: Record, end: int) -> str | None:
    """Why a member is not read; a bomb's members share their bytes, or hold far more than they take."""
    if record.flags & _ENCRYPTED:
        return "member_encrypted"
    if record.method not in (STORED, DEFLATED):
        return "member_method"
    if record.offset + LOCAL_FIELDS.size + record.name_length + record.length > end:
        return "member_overlap"
    if record.size > LARGEST_MEMBER:
        return "member_too_large"
    if record.size > SMALL + MOST_RATIO * record.length:
        return "member_ratio"
    return None


def _read(store: Store, entry: ArchiveEntry) -> bytes:
    assert entry.container is not None and entry.offset is not None and entry.packed is not None
    raw = store.read_range(entry.container, entry.offset, entry.packed.span)
    try:
        data = _unpacked(raw, entry.packed, entry.size)
    except (struct.error, zlib.error, ValueError) as error:
        raise Unreadable(f"{entry.key}: {error}", "member_damaged") from None
    return data


def _unpacked(raw: bytes, packed: Packed, size: int) -> bytes:
    """The member whose local header `raw` begins with. Raises ValueError, struct.error or zlib.error."""
    signature, *_, name_length, extra_length = LOCAL_FIELDS.unpack_from(raw)
    if signature != LOCAL:
        raise ValueError("no local header where the directory says")
    start = LOCAL_FIELDS.size + name_length + extra_length
    body = raw[start : start + packed.length]
    data = body if packed.method == STORED else zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, size + 1)
    if len(data) != size or zlib.crc32(data) != packed.crc:
        raise ValueError("not the bytes that the directory states")
    return data


ZIP = Format((".zip",), _index, _read)
