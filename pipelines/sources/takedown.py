"""Takedown lists: files that must leave a dataset, by key, media id or SHA-256.

A plain text has one of them a line; one that is the key of a file and the id of another withdraws both. A CSV has
columns `key`, `media_id` and `sha256`, at least one of them; a row that fills several names one file by each. A key
may be written as other programs do, `.\\1\\2.jpg` for `1/2.jpg`. The file may be one that no metadata name, or one that
only an earlier version held: what an entry matches is settled beside the listing and the ledger
(pipelines/prepare/withdrawal.py).
"""

import re
from dataclasses import replace
from typing import Literal

import pyarrow as pa

from infra.storage import Store
from pipelines.sources.handwritten import has_header, read_rows, read_text
from pipelines.sources.joining import relative
from pipelines.sources.schema import MEDIA, Survey, TakenDown
from xmodal.settings import Settings

COLUMNS: dict[str, tuple[str, ...]] = {"key": ("file_path",), "media_id": (), "sha256": ()}
_SHA256 = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)


class Takedown(Settings):
    """A list of files that are withdrawn: they are not read again and leave the next version."""

    kind: Literal["takedown"]
    path: str
    """Key of the list in the archive, a text file or a CSV."""

    def read(self, store: Store, survey: Survey) -> Survey:
        """`survey` with its media on the list marked `withdrawn`, and the list's entries. Raises DataRefused where the
        file is no text, infra.storage.NotFound."""
        entries = read_entries(f"{store.url}/{self.path}", read_text(store, self.path))
        named = TakenDown.union(entries)
        columns = (survey.media[name].to_pylist() for name in ("key", "media_id", "withdrawn"))
        marked = [
            True if key in named.keys or media_id in named.media_ids else old
            for key, media_id, old in zip(*columns, strict=True)
        ]
        position = MEDIA.get_field_index("withdrawn")
        media = survey.media.set_column(position, MEDIA.field(position), pa.array(marked, pa.bool_()))
        return replace(survey, media=media, takedown=survey.takedown + entries)


def read_entries(name: str, content: str) -> tuple[TakenDown, ...]:
    """The entries of a list, each once."""
    if has_header(content, COLUMNS, list(COLUMNS)):
        rows = read_rows(name, content, COLUMNS, list(COLUMNS))
        entries = [_entry(row["key"], row["media_id"], row["sha256"]) for row in rows]
    else:
        entries = [_entry(line.strip(), line.strip(), None) for line in content.splitlines()]
    return tuple(dict.fromkeys(entry for entry in entries if entry.written))


def _entry(key: str | None, media_id: str | None, sha256: str | None) -> TakenDown:
    """What stands in a row; a cell that reads like a hash is one wherever it stands."""
    names = dict.fromkeys(name for name in (key, media_id, sha256) if name)
    hashes = frozenset(name.lower() for name in names if _SHA256.fullmatch(name))
    return TakenDown(_some(key, relative(key)), _some(media_id), hashes, ", ".join(names))


def _some(*names: object) -> frozenset[str]:
    return frozenset(name for name in names if isinstance(name, str) and name)
