"""Items: the files of a survey cut into groups of at most 1,024, at places that depend on the keys alone.

A folder tree of up to 1,024 files stays whole. In a larger one each large subfolder is cut by itself; small subfolders
and loose files are gathered by the leading bits of their names' hashes, with as many bits as keep each group small. So
a file more or less changes its own group (which halves where it grew too large), and no other.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.prepare.digests import digest, settings_digest
from xmodal.transforms import PixelSettings

MOST = 1024
"""Files of an item."""
PIXELS_VERSION = 2
"""Raised when the same file and settings give other pixels, or another outcome."""


def cut(keys: Sequence[str], most: int = MOST) -> list[list[str]]:
    """Groups of sorted `keys`, each sorted, at most `most` in each."""
    return [sorted(group) for group in _cut_folder(sorted(keys), 0, most)]


def _cut_folder(keys: list[str], depth: int, most: int) -> Iterator[list[str]]:
    """Cuts the files of one folder, whose name is the first `depth` characters of every key."""
    if len(keys) <= most:
        if keys:
            yield keys
        return
    children: dict[str, list[str]] = {}
    for key in keys:
        name, slash, _ = key[depth:].partition("/")
        children.setdefault(name + slash, []).append(key)
    for name, inside in children.items():
        if len(inside) > most:
            yield from _cut_folder(inside, depth + len(name), most)
    small = {name: inside for name, inside in children.items() if len(inside) <= most}
    yield from _gather({_bits(name): inside for name, inside in small.items()}, 0, most)


def _bits(name: str) -> str:
    return f"{int.from_bytes(hashlib.sha256(name.encode('utf-8', 'surrogatepass')).digest()):0256b}"


def _gather(children: dict[str, list[str]], position: int, most: int) -> Iterator[list[str]]:
    """Children by the hash of their names, halved bit by bit until the files of a group fit."""
    if sum(map(len, children.values())) <= most:
        if children:
            yield [key for inside in children.values() for key in inside]
        return
    for bit in "01":
        half = {bits: inside for bits, inside in children.items() if bits[position] == bit}
        yield from _gather(half, position + 1, most)


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
