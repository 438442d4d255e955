"""Bare image files of a directory or bucket, loose or in tars and zips, whose camera is the folder that they lie in and
whose time is what EXIF says."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import torch

from infra.storage import open_store
from pipelines.errors import DataRefused, NotFound
from pipelines.predict import SUFFIXES
from pipelines.predictions.exif import taken_at
from pipelines.predictions.frames import Piece, as_bytes, table
from pipelines.sources.archive import Archive, ArchiveEntry, Unreadable
from xmodal.inference import Inference
from xmodal.transforms import BadImage

PIECE = 256
"""Files of a piece."""


@dataclass(frozen=True)
class FilePiece:
    """Some files below a folder, whose name is `survey`."""

    archive: Archive
    survey: str
    files: tuple[ArchiveEntry, ...]

    @property
    def name(self) -> str:
        facts = [(one.key, one.size, one.etag) for one in self.files]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    @property
    def rows(self) -> int:
        return len(self.files)

    def looked(self, model: Inference) -> pa.Table:
        with ThreadPoolExecutor() as pool:
            read = list(pool.map(lambda one: _read(model, self.archive, one), self.files))
        good = [one.pixels for one in read if one.pixels is not None]
        found = iter(as_bytes(model.image_vectors(torch.cat(good))) if good else [])
        given = [None if one.pixels is None else next(found) for one in read]
        keys = [one.key for one in self.files]
        columns = {
            "key": keys, "media_id": keys, "survey": [self.survey] * len(keys),
            "deployment_id": [camera(self.survey, one) for one in keys],
            "captured_at": [one.captured_at for one in read], "utc_offset": [one.utc_offset for one in read],
        }  # fmt: skip
        return table(columns, given, [one.refused for one in read])


def camera(survey: str, file: str) -> str:
    """The folder that a file lies in; at the top the survey itself."""
    return file.rpartition("/")[0] or survey


@dataclass(frozen=True)
class _Read:
    pixels: torch.Tensor | None = None
    captured_at: str | None = None
    utc_offset: int | None = None
    refused: str | None = None


def _read(model: Inference, archive: Archive, entry: ArchiveEntry) -> _Read:
    data = archive.content(entry)
    if data is None or isinstance(data, Unreadable):
        return _Read(refused=data.reason if data else "missing")
    try:
        pixels = model.pixels_of([data])
    except BadImage as error:
        return _Read(refused=error.reason)
    return _Read(pixels, *taken_at(data))


@dataclass(frozen=True)
class FolderFrames:
    """Image files below a folder, by their paths."""

    archive: Archive
    survey: str
    files: tuple[ArchiveEntry, ...]

    @classmethod
    def of(cls, folder: str, model: Inference) -> "FolderFrames":
        """`folder`: a directory or `s3://bucket/prefix`. Raises NotFound where there is no image, DataRefused where the
        model reads no pixels, and what infra.storage raises."""
        if not model.reads_pixels:
            raise DataRefused(
                "this model reads features that were computed beforehand: it can be asked of a dataset alone"
            )
        store = open_store(folder)
        archive = Archive(store)
        found = (one for one in archive.stream() if PurePosixPath(one.key).suffix.lower() in SUFFIXES)
        files = sorted(found, key=lambda one: one.key)
        if not files:
            raise NotFound(f"no image file in {folder}; looked for {', '.join(sorted(SUFFIXES))}")
        return cls(archive, store.url.rstrip("/").rpartition("/")[2], tuple(files))

    @property
    def told(self) -> dict[str, Any]:
        return {"folder": self.survey}

    def media(self) -> pa.Table:
        """media_id and file of every image."""
        files = pa.array([one.key for one in self.files], pa.string())
        return pa.table({"media_id": files, "file": files})

    @property
    def vetted(self) -> bool:
        """Nobody has looked for people."""
        return False

    def check_one_survey(self) -> None:
        """A folder is one."""

    def deployments(self) -> dict[str | None, int]:
        """Images of each: the folders that they lie in."""
        return Counter(camera(self.survey, one.key) for one in self.files)

    def pieces(self) -> Iterator[Piece]:
        for start in range(0, len(self.files), PIECE):
            yield FilePiece(self.archive, self.survey, self.files[start : start + PIECE])
