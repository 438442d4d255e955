"""What people say of images on the page: a corrections overlay that grows line by line.

The file is what an overlay of kind `corrections` reads (docs/formats.md): of several rows on one file the last counts,
so a second thought is a second row. Nothing that was said is lost when the server is killed.
"""

import csv
import os
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Literal, get_args

from pipelines.errors import DataRefused
from pipelines.predictions.whole import Whole
from pipelines.spreadsheets import bare, safe
from xmodal.settings import SettingsError

Kind = Literal["animal", "blank", "human", "vehicle", "unknown"]
TYPES = get_args(Kind)


@dataclass(frozen=True)
class Said:
    """A row: the file, and what is on it."""

    survey: str
    key: str
    media_id: str
    type: str
    scientific_name: str = ""
    common_name: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """As it is shown."""
        return self.scientific_name or self.common_name or self.type


COLUMNS = tuple(field.name for field in fields(Said))


class Review:
    """The rows of a file, the last of each frame. Raises DataRefused for a file that this page did not write."""

    def __init__(self, file: Path) -> None:
        self.file, self._lock = file, Lock()
        self._said: dict[tuple[str, str], Said] = {}
        if file.exists() and file.stat().st_size:
            self._read()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._append([COLUMNS])

    def __len__(self) -> int:
        return len(self._said)

    def of(self, survey: str, key: str) -> Said | None:
        """What was said of a file."""
        return self._said.get((survey, key))

    def say(self, rows: list[Said]) -> None:
        """Adds rows, on the disk before this returns. Raises SettingsError for a type that is none."""
        for row in rows:
            if row.type not in TYPES:
                raise SettingsError(f"type {row.type!r}: allowed are {', '.join(TYPES)}")
        with self._lock:
            self._append([_cells(row) for row in rows])
            self._said |= {(row.survey, row.key): row for row in rows}

    def unsay(self, frames: list[tuple[str, str]]) -> int:
        """Takes back what was said of (survey, file) pairs; the file is written anew. Returns how many had it."""
        with self._lock:
            left = {frame: row for frame, row in self._said.items() if frame not in frames}
            gone = len(self._said) - len(left)
            if gone:
                whole = Whole(self.file)
                rows = csv.writer(whole.text(), lineterminator="\n")
                rows.writerows([COLUMNS, *(_cells(row) for row in left.values())])
                whole.keep()
                self._said = left
        return gone

    def _append(self, rows: list[tuple[str, ...]]) -> None:
        with self.file.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)
            stream.flush()
            os.fsync(stream.fileno())

    def _read(self) -> None:
        data = self.file.read_bytes()
        if not data.endswith(b"\n"):  # a line that a kill cut: what it said was never acknowledged
            data = data[: data.rfind(b"\n") + 1]
            self.file.write_bytes(data)
        rows = csv.DictReader(data.decode("utf-8").splitlines())
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise DataRefused(
                f"{self.file}: its columns are not {', '.join(COLUMNS)}; name another file with --review, and keep "
                "this one as an overlay of its own"
            )
        for row in rows:
            one = Said(**{name: bare(row[name] or "") for name in COLUMNS})
            self._said[one.survey, one.key] = one


def _cells(row: Said) -> tuple[str, ...]:
    return tuple(safe(getattr(row, name)) for name in COLUMNS)
