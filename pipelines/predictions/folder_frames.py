"""Bare image files, whose camera is the folder that they lie in and whose time is what EXIF says."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from pipelines.errors import DataRefused, NotFound
from pipelines.predict import SUFFIXES
from pipelines.predictions.exif import taken_at
from pipelines.predictions.frames import Piece, as_bytes, table
from xmodal.inference import Inference
from xmodal.transforms import BadImage

PIECE = 256
"""Files of a piece."""


@dataclass(frozen=True)
class FilePiece:
    """Some files below a folder."""

    folder: Path
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        facts = [(one, status.st_size, status.st_mtime_ns) for one in self.files
                 for status in ((self.folder / one).stat(),)]  # fmt: skip
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    @property
    def rows(self) -> int:
        return len(self.files)

    def looked(self, model: Inference) -> pa.Table:
        with ThreadPoolExecutor() as pool:
            read = list(pool.map(lambda one: _read(model, self.folder / one), self.files))
        good = [one.pixels for one in read if one.pixels is not None]
        found = iter(as_bytes(model.image_vectors(torch.cat(good))) if good else [])
        given = [None if one.pixels is None else next(found) for one in read]
        columns = {
            "key": self.files, "media_id": self.files, "survey": [self.folder.resolve().name] * len(self.files),
            "deployment_id": [camera(self.folder, one) for one in self.files],
            "captured_at": [one.captured_at for one in read], "utc_offset": [one.utc_offset for one in read],
        }  # fmt: skip
        return table(columns, given, [one.refused for one in read])


def camera(folder: Path, file: str) -> str:
    """The folder that a file lies in, below `folder`; at its top that folder's own name."""
    return file.rpartition("/")[0] or folder.resolve().name


@dataclass(frozen=True)
class _Read:
    pixels: torch.Tensor | None = None
    captured_at: str | None = None
    utc_offset: int | None = None
    refused: str | None = None


def _read(model: Inference, path: Path) -> _Read:
    try:
        data = path.read_bytes()
        pixels = model.pixels_of([data])
    except BadImage as error:
        return _Read(refused=error.reason)
    except OSError:
        return _Read(refused="unreadable")
    return _Read(pixels, *taken_at(data))


@dataclass(frozen=True)
class FolderFrames:
    """Image files below a folder, by their paths."""

    folder: Path
    files: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, model: Inference) -> "FolderFrames":
        """Raises NotFound where there is no image, DataRefused where the model reads no pixels."""
        if not model.reads_pixels:
            raise DataRefused(
                "this model reads features that were computed beforehand: it can be asked of a dataset alone"
            )
        files = sorted(
            one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES
        )
        if not files:
            raise NotFound(f"no image file in {folder}; looked for {', '.join(sorted(SUFFIXES))}")
        return cls(folder, tuple(files))

    @property
    def told(self) -> dict[str, Any]:
        return {"folder": self.folder.resolve().name}

    def media(self) -> pa.Table:
        """media_id and file of every image."""
        files = pa.array(self.files, pa.string())
        return pa.table({"media_id": files, "file": files})

    @property
    def vetted(self) -> bool:
        """Nobody has looked for people."""
        return False

    def check_one_survey(self) -> None:
        """A folder is one."""

    def deployments(self) -> dict[str | None, int]:
        """Images of each: the folders that they lie in."""
        return Counter(camera(self.folder, one) for one in self.files)

    def pieces(self) -> Iterator[Piece]:
        for start in range(0, len(self.files), PIECE):
            yield FilePiece(self.folder, self.files[start : start + PIECE])
