"""Rows collected column by column, so that a million of them stay small, and the checks a single cell passes."""

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from infra.storage import key_part
from pipelines.errors import DataRefused
from pipelines.sources.date_order import ordered, settled
from pipelines.sources.schema import (
    DEPLOYMENTS,
    DETECTIONS,
    HALF,
    MEDIA,
    OBSERVATIONS,
    PEOPLE,
    SIGNS,
    Refused,
    Survey,
)

CHUNK = 1 << 16
BROKEN = "broken_character"


class Rows:
    """One table in the making. A column that a row does not name is null; a name the schema lacks is an error.

    Every CHUNK rows are packed into Arrow, so that a million of them never stand in memory as Python objects. There
    U+FFFD takes the place of half a surrogate pair, and the row is counted in `refused` as BROKEN.
    """

    def __init__(self, schema: pa.Schema, refused: Refused | None = None) -> None:
        self._schema = schema
        self._refused = Refused() if refused is None else refused
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._packed: list[pa.RecordBatch] = []
        self._count = 0

    def add(self, **values: Any) -> None:
        for name, column in self._columns.items():
            column.append(values.pop(name, None))
        if values:
            raise TypeError(f"no such column: {', '.join(values)}")
        self._count += 1
        if self._count % CHUNK == 0:
            self._pack()

    def __len__(self) -> int:
        return self._count

    def table(self) -> pa.Table:
        """All rows added so far."""
        self._pack()
        return pa.Table.from_batches(self._packed, self._schema)

    def _pack(self) -> None:
        try:
            batch = pa.record_batch(self._columns, schema=self._schema)
        except UnicodeEncodeError:
            self._mend()
            batch = pa.record_batch(self._columns, schema=self._schema)
        self._packed.append(batch)
        for column in self._columns.values():
            column.clear()

    def _mend(self) -> None:
        name, *_ = self._schema.names
        for position, row in enumerate(zip(*self._columns.values(), strict=True)):
            whole = tuple(map(_mended, row))
            if whole != row:
                self._refused.add(BROKEN, f"{name} {whole[0]}")
                for column, value in zip(self._columns.values(), whole, strict=True):
                    column[position] = value


def _mended(value: Any) -> Any:
    """A cell without halves of surrogate pairs, in lists neither."""
    if isinstance(value, list | tuple):
        return type(value)(map(_mended, value))
    return HALF.sub("\ufffd", value) if isinstance(value, str) else value


class SurveyRows:
    """The tables of a survey that its source fills, and its refused rows, in the making."""

    def __init__(self) -> None:
        self.refused = Refused()
        self.media = Rows(ordered(MEDIA), self.refused)
        self.observations = Rows(OBSERVATIONS, self.refused)
        self.deployments = Rows(ordered(DEPLOYMENTS), self.refused)
        self.signs = Rows(SIGNS, self.refused)

    def sign(self, keys: Iterable[str], kind: str, event_id: str | None = None) -> None:
        """Notes for privacy that a row shows a person or vehicle in the files `keys` and in a whole event, whatever
        becomes of the row."""
        if kind not in PEOPLE:
            return
        for key in keys:
            self.signs.add(key=key, kind=kind)
        if event_id is not None:
            self.signs.add(kind=kind, event_id=event_id)

    def survey(self, name: str, offered: int) -> Survey:
        """The tables of the metadata file `name`, which offered that many media. Raises DataRefused if none is left, or
        if ids of media are equal once they are mended."""
        if offered and not len(self.media):
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.refused.counts.most_common(5))
            raise DataRefused(f"{name}: none of its {offered} images can be used ({reasons})")
        media, deployments = settled(self.media.table(), self.deployments.table(), self.refused)
        if self.refused.counts[BROKEN] and len(media["media_id"].unique()) < len(media):
            raise DataRefused(f"{name}: ids of images that differ in nothing but broken characters; give them others")
        tables = (media, self.observations.table(), Rows(DETECTIONS).table())
        return Survey(*tables, self.refused, deployments, signs=self.signs.table())


def text(value: object) -> str | None:
    """A cell as text without outer blanks; numbers become text; empty, NaN and anything else is null. Bytes that are no
    UTF-8 are spelled as in keys, so that ids made of file names stay apart."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    written = str(value).strip()
    return (written if written.isascii() else key_part(written)) or None


def number(value: object) -> float | None:
    """A finite number, from a number or its text, else null."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def whole(value: object, least: int = 0) -> int | None:
    """A whole number from `least` up that fits int32, else null."""
    parsed = number(value)
    fits = parsed is not None and parsed.is_integer() and least <= parsed < 2**31
    return int(parsed) if fits and parsed is not None else None


def individuals(value: object, kind: str, refused: Refused, example: str) -> int | None:
    """How many a label of this type says there were; of animals, one that is no whole number from 1 up is counted as
    bad_count, and the label stays."""
    found = whole(value, least=1)
    if found is None and kind == "animal" and text(value) is not None:
        refused.add("bad_count", example)
    return found


def flag(value: object) -> bool | None:
    """True or False from a boolean or Camtrap DP's and Frictionless' spellings of it, else null."""
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())


def mappings(rows: Iterable[object], refused: Refused, what: str) -> Iterable[dict[str, Any]]:
    """The rows that are JSON objects; the others are refused as `bad_row`."""
    for position, row in enumerate(rows):
        if isinstance(row, dict):
            yield row
        else:
            refused.add("bad_row", f"{what}[{position}]: {row!r:.60}")
