"""The folder that goes with a job, as one zip: what is sent of it, what never is, and no more than Ray takes.

The same content gives the same bytes, so Ray, which names it by their hash, keeps it once. `.gitignore` and
`.rayignore` are followed, as by Ray itself.
"""

import logging
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

from infra.secrecy import has_login, known

LIMIT = 100 << 20
"""Bytes that Ray's jobs API takes (HTTP 413 beyond), whatever its messages say."""
HOLDS_SECRETS = (
    ".env", ".env.*", "*.pem", "*.key", "id_rsa*", "id_ecdsa*", "id_ed25519*", ".netrc", ".pypirc", ".git-credentials",
    ".aws", ".ssh", ".kube", ".docker", "environment.sh",
)  # fmt: skip
"""Files that stay here: whoever may list jobs may read what was sent with them."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class NotSent(Exception):
    """The folder cannot go with a job; the text is one line."""


def pack(folder: Path, parcel: Path, excludes: Sequence[str] = ()) -> None:
    """Writes the zip `parcel`. Raises NotSent where it would be too large, or a file holds a secret's value or, of a
    YAML file, an address with a password."""
    found = files(folder, excludes)
    values = {value.encode(): name for value, name in known().items()}
    with zipfile.ZipFile(parcel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in found:
            _check_content(folder, path, values)
            _add(archive, path, str(path.relative_to(folder)))
            if parcel.stat().st_size >= LIMIT:
                raise NotSent(_too_large(folder, found))
    if parcel.stat().st_size >= LIMIT:
        raise NotSent(_too_large(folder, found))


def files(folder: Path, excludes: Sequence[str] = ()) -> list[Path]:
    """What is sent, in order. A link that leads out of the folder is left behind."""
    kept: list[Path] = []

    def keep(path: Path) -> None:
        if path.is_file():
            kept.append(path)

    left: list[Callable[[Path], bool]] = [_get_excludes(folder, [*excludes, *HOLDS_SECRETS]), _leads_out_of(folder)]
    _dir_travel(folder, left, keep, include_gitignore=True, logger=_SILENT)
    return sorted(kept)


def _leads_out_of(folder: Path) -> Callable[[Path], bool]:
    """Of any link to a folder, too: one to a folder above it would have no end."""
    root = folder.resolve()

    def leads_out(path: Path) -> bool:
        return path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(root))

    return leads_out


def _check_content(folder: Path, path: Path, values: dict[bytes, str]) -> None:
    data = path.read_bytes()
    held = next((f"the value of {name}" for value, name in values.items() if value in data), None)
    if path.suffix in (".yaml", ".yml") and has_login(data.decode(errors="replace")):
        held = "an address with a user name or a password"
    if held:
        raise NotSent(
            f"{path.relative_to(folder)}: holds {held}, and who may list jobs may read this folder; take it out, or "
            "name the file in .rayignore"
        )


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (path.stat().st_mode & 0xFFFF) << 16
    with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _too_large(folder: Path, found: Iterable[Path]) -> str:
    sizes: Counter[str] = Counter()
    for path in found:
        sizes[path.relative_to(folder).parts[0]] += os.path.getsize(path)
    largest = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.most_common(3))
    return (
        f"{folder}: packs to more than the {LIMIT >> 20} MiB that Ray's jobs API takes (largest: {largest}); submit "
        "from a folder of recipes alone, or name what the job does not need in .rayignore"
    )


_SILENT = logging.getLogger("xmodal.parcel")
_SILENT.setLevel(logging.CRITICAL)
