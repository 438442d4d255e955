"""Takedown lists: files that must leave a dataset, by key, media id or SHA-256.

A plain text has one of them a line. A CSV has columns `key`, `media_id` and `sha256`, at least one of them; a row that
fills several names one file by each. The file may be one that no metadata name, or one that only an earlier version
held: what an entry matches is settled beside the listing and the ledger (pipelines/prepare/withdrawal.py).
"""

import re
from dataclasses import replace
from typing import Literal

import pyarrow as pa

from infra.storage import Store
from pipelines.sources.handwritten import has_header, read_rows, read_text
from pipelines.sources.schema import MEDIA, Survey
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
        named = frozenset[str]().union(*entries)
        columns = (survey.media[name].to_pylist() for name in ("key", "media_id", "withdrawn"))
        marked = [
            True if key in named or media_id in named else old for key, media_id, old in zip(*columns, strict=True)
        ]
        position = MEDIA.get_field_index("withdrawn")
        media = survey.media.set_column(position, MEDIA.field(position), pa.array(marked, pa.bool_()))
        return replace(survey, media=media, takedown=survey.takedown + entries)


def read_entries(name: str, content: str) -> tuple[frozenset[str], ...]:
    """The entries of a list, each once."""
    if has_header(content, COLUMNS, list(COLUMNS)):
        rows = read_rows(name, content, COLUMNS, list(COLUMNS))
        named = [[cell for column in COLUMNS if (cell := row[column])] for row in rows]
    else:
        named = [[line.strip()] for line in content.splitlines() if line.strip()]
    return tuple(dict.fromkeys(frozenset(map(_plain, names)) for names in named if names))


def _plain(name: str) -> str:
    """A hash in small letters; a key as it is."""
    return name.lower() if _SHA256.fullmatch(name) else name
