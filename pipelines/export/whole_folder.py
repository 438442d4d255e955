"""A folder that is there whole or not at all: it is written beside its place and takes its name at the end."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xmodal.settings import SettingsError

MARK = "export.json"
"""What says that a folder was written here, and what it holds."""


def check_ours(folder: Path) -> None:
    """Raises SettingsError where something stands at `folder` that no export wrote, or its place cannot be written."""
    if os.path.lexists(folder) and not (folder / MARK).is_file():
        raise SettingsError(f"--to: {folder} is there and no export of ours; name another folder, or move it away")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--to: {folder.parent} cannot be written: {error.strerror}") from None


def marked(folder: Path) -> dict[str, Any] | None:
    """What the mark of a folder says; None without one."""
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


@contextmanager
def whole(folder: Path, mark: dict[str, Any]) -> Iterator[Path]:
    """Where to write; it becomes `folder` where the block ends well, else it is removed."""
    unfinished = _beside(folder, "unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        finish(unfinished, folder, mark)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def resumed(folder: Path, mark: dict[str, Any]) -> Path:
    """Where to write what `finish` puts into its place; what an earlier run left there stays if it has this mark."""
    unfinished = _beside(folder, "unfinished")
    if marked(unfinished) != mark:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        _write_mark(unfinished, mark)
    return unfinished


def finish(unfinished: Path, folder: Path, mark: dict[str, Any]) -> None:
    """Gives it its mark and its name, in the place of an earlier export."""
    _write_mark(unfinished, mark)
    former = _beside(folder, "former")
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        os.rename(folder, former)
    os.rename(unfinished, folder)
    shutil.rmtree(former, ignore_errors=True)


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}.{ending}")


def _write_mark(folder: Path, mark: dict[str, Any]) -> None:
    (folder / MARK).write_text(json.dumps(mark, ensure_ascii=False, indent=1), encoding="utf-8")
