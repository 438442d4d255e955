"""Items: the files of a survey cut into groups of at most 1,024, at places that depend on the keys alone.

A folder tree of up to 1,024 files stays whole. In a larger one each large subfolder is cut by itself; small subfolders
and loose files are gathered by the leading bits of their names' hashes, with as many bits as keep each group small. So
a file more or less changes its own group (which halves where it grew too large), and no other.
"""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.prepare.digests import digest, settings_digest
from xmodal.transforms import PixelSettings

MOST = 1024
"""Files of an item."""
BLOCK = 8192
"""Keys that are Python objects at a time."""
PIXELS_VERSION = 2
"""Raised when the same file and settings give other pixels, or another outcome."""


def cut(keys: pa.ChunkedArray, most: int = MOST) -> list[np.ndarray]:
    """Groups of the rising `keys`: positions, rising, at most `most` in each."""
    return list(_cut_folder(keys, 0, len(keys), 0, most))


def _cut_folder(keys: pa.ChunkedArray, low: int, high: int, depth: int, most: int) -> Iterator[np.ndarray]:
    """Cuts the files of one folder, whose name is the first `depth` characters of the keys from `low` to `high`."""
    if high - low <= most:
        if high > low:
            yield np.arange(low, high, dtype=np.int32)
        return
    small = _Small()
    for name, begin, end in _children(keys, low, high, depth):
        if end - begin > most:
            yield from _cut_folder(keys, begin, end, depth + len(name), most)
        else:
            small.add(name, begin, end)
    yield from small.gathered(most)


def _children(keys: pa.ChunkedArray, low: int, high: int, depth: int) -> Iterator[tuple[str, int, int]]:
    """Subfolders (their names end in a slash) and files of a folder, with the positions where each begins and ends: in
    rising keys a folder's stand together."""
    last, begin = None, low
    for start in range(low, high, BLOCK):
        for position, key in enumerate(keys.slice(start, min(BLOCK, high - start)).to_pylist(), start):
            name, slash, _ = key[depth:].partition("/")
            if name + slash != last:
                if last is not None:
                    yield last, begin, position
                last, begin = name + slash, position
    yield str(last), begin, high


class _Small:
    """Small children of one folder, to be gathered by the hash of their names."""

    def __init__(self) -> None:
        self._bits, self._begin, self._end = array("Q"), array("q"), array("q")

    def add(self, name: str, begin: int, end: int) -> None:
        hashed = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        self._bits.append(int.from_bytes(hashed[:8]))  # no more than `most` names share 64 bits
        self._begin.append(begin)
        self._end.append(end)

    def gathered(self, most: int) -> Iterator[np.ndarray]:
        """Groups of children, halved bit by bit until the files of a group fit."""
        bits, begin, end = (np.array(one) for one in (self._bits, self._begin, self._end))
        order = np.argsort(bits)
        begin, end = begin[order], end[order]
        files = np.append(0, np.cumsum(end - begin))
        for low, high in _halved(bits[order], files, 0, len(order), 63, most):
            spans = zip(begin[low:high], end[low:high], strict=True)
            yield np.sort(np.concatenate([np.arange(*span, dtype=np.int32) for span in spans]))


def _halved(bits: np.ndarray, files: np.ndarray, low: int, high: int, bit: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of the rising `bits` that agree in their leading ones; `files` (n + 1,) are there before each."""
    if files[high] - files[low] <= most:
        if high > low:
            yield low, high
        return
    middle = low + int(np.searchsorted(bits[low:high] >> np.uint64(bit) & np.uint64(1), 1))
    yield from _halved(bits, files, low, middle, bit - 1, most)
    yield from _halved(bits, files, middle, high, bit - 1, most)


def item_id(
    survey: str, files: Sequence[tuple[str, str, int, str]], pixels: PixelSettings, crops: Sequence[Any] = ()
) -> str:
    """16 hex digits of an item of `files` (key, etag, size, media_id), known before anything of them is read.

    The media id counts because sample ids are made of it; `crops` is all that decides what is cut out of the frames.
    """
    listed: list[Any] = sorted(files)
    return digest(survey, listed, settings_digest(pixels), PIXELS_VERSION, *crops)[:16]


def sample_id(survey: str, media_id: str, crop: str = "") -> str:
    """32 hex digits that name an image in every version of every dataset."""
    return digest(survey, media_id, crop)[:32]
