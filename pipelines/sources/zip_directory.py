"""The central directory of a zip (PKWARE APPNOTE 6.3.10, sections 4.3.12 to 4.3.16), record by record."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

from pipelines.sources.members import Damaged

LOCAL = b"PK\3\4"
LOCAL_FIELDS = struct.Struct("<4s5H3I2H")
_CENTRAL, _END, _END64, _LOCATOR64 = b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7"
_CENTRAL_FIELDS = struct.Struct("<4s6H3I5H2I")
_END_FIELDS = struct.Struct("<4s4H2IH")
_END64_FIELDS = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64_FIELDS = struct.Struct("<4sIQI")
_LONGEST_END = _END_FIELDS.size + 0xFFFF
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_EXTRA, _UNICODE_EXTRA = 0x0001, 0x7075
_UTF8 = 0x0800


@dataclass(frozen=True)
class Directory:
    """Where the central directory lies, and by how much all offsets are off (something stands before the zip)."""

    start: int
    size: int
    shift: int


@dataclass(frozen=True)
class Record:
    """One member as the directory has it: `offset` of its local header, `length` as packed, `size` unpacked, bytes."""

    name: str
    name_length: int
    offset: int
    length: int
    size: int
    method: int
    crc: int
    flags: int
    system: int
    attributes: int


def find_directory(file: BufferedIOBase, size: int) -> Directory:
    """Raises Damaged: damaged_zip where there is none, multi_disk_zip."""
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read(_LONGEST_END)
    at = tail.rfind(_END)
    while at >= 0 and not _is_end(tail, at):
        at = tail.rfind(_END, 0, at)
    if at < 0:
        raise Damaged("it has no central directory", "damaged_zip")
    _, disk, first_disk, _, _, length, offset, _ = _END_FIELDS.unpack_from(tail, at)
    end = size - len(tail) + at
    if _FULL16 in (disk, first_disk) or _FULL32 in (length, offset):
        end, disk, first_disk, length, offset = _find_end64(file, end)
    if disk or first_disk:
        raise Damaged(f"it is disk {disk + 1} of several", "multi_disk_zip")
    if length + offset > end:
        raise Damaged("its central directory lies outside of it", "damaged_zip")
    return Directory(end - length, length, end - length - offset)


def _is_end(tail: bytes, at: int) -> bool:
    """Whether a whole end record with its comment begins at `at`."""
    if at + _END_FIELDS.size > len(tail):
        return False
    return at + _END_FIELDS.size + _END_FIELDS.unpack_from(tail, at)[-1] <= len(tail)


def _find_end64(file: BufferedIOBase, end: int) -> tuple[int, int, int, int, int]:
    """Position, disks, length and offset of the zip64 end record, whose locator stands before the end record."""
    signature, _, stated, disks = _read(file, end - _LOCATOR64_FIELDS.size, _LOCATOR64_FIELDS)
    if signature != _LOCATOR64:
        raise Damaged("it lacks its zip64 end record", "damaged_zip")
    if disks > 1:
        raise Damaged(f"it has {disks} disks", "multi_disk_zip")
    before = end - _LOCATOR64_FIELDS.size - _END64_FIELDS.size
    for position in (stated, before):  # where it says; right before the locator where something stands before the zip
        if 0 <= position <= before:
            fields = _read(file, position, _END64_FIELDS)
            if fields[0] == _END64:
                return position, fields[4], fields[5], fields[8], fields[9]
    raise Damaged("it lacks its zip64 end record", "damaged_zip")


def records(file: BufferedIOBase, directory: Directory) -> Iterator[Record]:
    """Raises Damaged where the directory breaks off."""
    file.seek(directory.start)
    left = directory.size
    while left > 0:
        fields = _CENTRAL_FIELDS.unpack(_exactly(file, _CENTRAL_FIELDS.size))
        if fields[0] != _CENTRAL:
            raise Damaged("its central directory is damaged", "damaged_zip")
        lengths = fields[10:13]
        name, extra, _ = (_exactly(file, length) for length in lengths)
        left -= _CENTRAL_FIELDS.size + sum(lengths)
        yield _record(fields, name, dict(_extras(extra)), directory.shift)


def _record(fields: tuple[int, ...], name: bytes, extras: dict[int, bytes], shift: int) -> Record:
    _, made_by, _, flags, method, _, _, crc, length, size, *_, attributes, offset = fields
    wide = extras.get(_ZIP64_EXTRA, b"")
    values = []
    for value in (size, length, offset):  # in this order, and only those that do not fit
        if value == _FULL32:
            if len(wide) < 8:
                raise Damaged("a zip64 field is missing", "damaged_zip")
            (value,), wide = struct.unpack_from("<Q", wide), wide[8:]
        values.append(value)
    size, length, offset = values
    text = _name(name, flags, extras.get(_UNICODE_EXTRA, b""))
    return Record(text, len(name), offset + shift, length, size, method, crc, flags, made_by >> 8, attributes)


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Id and content of each extra field; what is cut off is none."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        yield kind, extra[4 : 4 + length]
        extra = extra[4 + length :]


def _name(raw: bytes, flags: int, unicode_extra: bytes) -> str:
    """UTF-8 where the flag says so, or the Info-ZIP extra field, or the bytes can be nothing else (many programs set no
    flag), else code page 437."""
    if len(unicode_extra) > 5 and struct.unpack_from("<BI", unicode_extra) == (1, zlib.crc32(raw)):
        raw, flags = unicode_extra[5:], _UTF8
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace") if flags & _UTF8 else raw.decode("cp437")


def _read(file: BufferedIOBase, position: int, fields: struct.Struct) -> tuple[int, ...]:
    if position < 0:
        raise Damaged("it lacks its zip64 end record", "damaged_zip")
    file.seek(position)
    return fields.unpack(_exactly(file, fields.size))


def _exactly(file: BufferedIOBase, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise Damaged("its central directory breaks off", "damaged_zip")
    return data
