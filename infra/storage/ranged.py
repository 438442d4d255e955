"""An object read by ranges as a seekable file, for headers here and there as well as from end to end."""

import io
from collections.abc import Callable
from typing import Any

FIRST_WINDOW = 1 << 15
LONGEST_WINDOW = 1 << 23
"""Bytes of a range: doubled while the reader goes straight on, small again after each jump."""


class RangedFile(io.RawIOBase):
    """`read_range(start, length)` gives bytes of an object of `size` bytes; what it raises comes through."""

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._read_range, self._size = read_range, size
        self._position = self._start = 0
        self._held = b""
        self._window = FIRST_WINDOW

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        inside = self._position - self._start
        if not 0 <= inside < len(self._held):
            self._fetch(wanted)
            inside = 0
        data = self._held[inside : inside + wanted]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        """The rest, in one range."""
        length = max(0, self._size - self._position)
        data = self._read_range(self._position, length) if length else b""
        self._position += len(data)
        return data

    def _fetch(self, wanted: int) -> None:
        straight = self._position == self._start + len(self._held)
        self._window = min(2 * self._window, LONGEST_WINDOW) if straight else FIRST_WINDOW
        length = min(max(wanted, self._window), self._size - self._position)
        self._held = self._read_range(self._position, length)
        self._start = self._position
