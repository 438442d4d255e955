"""Whether a file that is written after long work can be, asked before the work begins."""

from pathlib import Path

from xmodal.settings import SettingsError


def check_writable(file: Path, option: str, example: str) -> None:
    """Makes the folder of `file` where there is none. Raises SettingsError, which names the `option` that asked for the
    file, where it cannot be written; `example` is a file's name for a user who gave a directory."""
    if file.is_dir():
        raise SettingsError(f"{option} {file}: a directory is there; give the name of a file, as {file / example}")
    there = file.exists()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("ab").close()
    except OSError as error:
        raise SettingsError(f"{option} {file}: cannot be written: {error.strerror}") from None
    if not there:
        file.unlink()
