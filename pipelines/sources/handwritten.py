"""Tables that people wrote, as spreadsheets leave them.

UTF-8 with or without a byte order mark, UTF-16 ("Unicode text"), else Windows-1252, which holds Latin-1; comma,
semicolon or tab; columns in any order and spelling (`scientific_name`, `Scientific Name`, `scientificName`); a line
`sep=;`, titles above the header, empty rows and repeated headers.
"""

import codecs
import csv
import difflib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from infra.storage import Store
from pipelines.errors import DataRefused

HEADER_WITHIN = 20
"""Rows among which the header is looked for."""
_TURNED = re.compile(r"\d{1,4}[-./]\w{2,9}([-./]\d{2,4})?|\w{3,9}[-. ]\d{1,4}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}"
                     r"|\d(\.\d+)?E\+\d+", re.IGNORECASE)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row under the header: its line in the file, and its cells by the names we know, without outer blanks."""

    line: int
    cells: Mapping[str, str]

    def __getitem__(self, name: str) -> str | None:
        return self.cells.get(name) or None


def read_text(store: Store, key: str) -> str:
    """The text of a file in one of the encodings above. Raises DataRefused for one that is no text."""
    data = store.read(key)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "cp1252", "latin-1")
    for encoding in encodings:
        try:
            found = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in found:
            return found
    raise DataRefused(f"{store.url}/{key}: not a text file; save it as CSV (UTF-8)")


def read_rows(name: str, content: str, columns: Mapping[str, Sequence[str]], one_of: Sequence[str]) -> Iterator[Row]:
    """The rows below the header that have any cell. `columns` gives the spellings of each name; a header has at least
    one of `one_of`. Raises DataRefused where there is none, or where quotes do not close."""
    spellings = {_plain(one): known for known, others in columns.items() for one in (known, *others)}
    table = list(_cells(name, content, _delimiter(content, spellings)))
    header, names = _header(name, table, spellings, one_of)
    for line, cells in table[header + 1 :]:
        known = [spellings.get(_plain(cell)) for cell in cells]
        if any(cells) and known[: len(names)] != names:
            pairs = zip(names, cells, strict=False)
            yield Row(line, {column: cell for column, cell in pairs if column is not None})


def has_header(content: str, columns: Mapping[str, Sequence[str]], one_of: Sequence[str]) -> bool:
    """Whether `read_rows` would find one."""
    try:
        next(read_rows("", content, columns, one_of), None)
    except DataRefused:
        return False
    return True


def turned(cell: str) -> bool:
    """Whether a spreadsheet may have made a date or a rounded number of what stood in a cell."""
    return _TURNED.fullmatch(cell) is not None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _delimiter(content: str, spellings: Mapping[str, str]) -> str:
    """The one that cuts some early line into most of the names we know."""
    lines = content.splitlines()[:HEADER_WITHIN]

    def known(delimiter: str) -> int:
        return max((sum(_plain(cell) in spellings for cell in line.split(delimiter)) for line in lines), default=0)

    return max(",;\t", key=known)


def _cells(name: str, content: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataRefused(f"{name}: line {reader.line_num}: not readable as CSV ({error})") from None


def _header(
    name: str, table: Sequence[tuple[int, list[str]]], spellings: Mapping[str, str], one_of: Sequence[str]
) -> tuple[int, list[str | None]]:
    for position, (_, cells) in enumerate(table[:HEADER_WITHIN]):
        names = [spellings.get(_plain(cell)) for cell in cells]
        if set(names) & set(one_of):
            return position, _first_only(names)
    seen = next((cells for _, cells in table if any(cells)), [])
    near = [match for one in one_of for match in difflib.get_close_matches(one, map(str.lower, seen), n=1)]
    hint = f"; is {near[0]!r} meant?" if near else ""
    raise DataRefused(f"{name}: no row among its first {HEADER_WITHIN} names a column {' or '.join(one_of)} "
                      f"(its first row: {', '.join(seen)[:120] or 'none'}){hint}")  # fmt: skip


def _first_only(names: list[str | None]) -> list[str | None]:
    """Of two columns of one name the first counts."""
    return [None if one in names[:position] else one for position, one in enumerate(names)]
