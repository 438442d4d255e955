"""A file that is there whole or not at all: it is written beside its place and takes its name at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

UNFINISHED = ".unfinished"


@contextmanager
def swept(folder: Path, *files: Path) -> Iterator[None]:
    """Removes what is unfinished below `folder`, and of `files` elsewhere, where the block raises."""
    try:
        yield
    except BaseException:
        for leftover in (*folder.rglob(f".*{UNFINISHED}"), *map(unfinished, files)):
            leftover.unlink(missing_ok=True)
        raise


def unfinished(file: Path) -> Path:
    """Where a file is written until it is whole."""
    return file.with_name(f".{file.name}{UNFINISHED}")


class Whole:
    """`path` is where to write; `keep` gives it the name. What a killed run left is overwritten by the next one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self.path = unfinished(file)
        self._text: TextIO | None = None

    def text(self) -> TextIO:
        """Opened for UTF-8 text without translated line ends."""
        self._text = self.path.open("w", encoding="utf-8", newline="")
        return self._text

    def keep(self) -> str:
        """Closes it and gives it its name, which is returned."""
        if self._text is not None:
            self._text.close()
        os.replace(self.path, self._file)
        return str(self._file)
