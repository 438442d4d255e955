"""What the model makes of each image, kept below the output so that a killed run goes on where it was.

`vectors/NAME.parquet` is one piece, NAME a hash of the model's weights and of what the piece holds. So another model, a
changed file or a new survey makes parts of its own, and whatever else is asked of the same images later (another
precision, another format, a search) reads these.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.predictions.frames import LOOKED, Frames, Piece
from pipelines.progress import Progress
from xmodal.inference import Inference

FOLDER = "vectors"


@dataclass(frozen=True)
class Vectors:
    """The parts of one model and one set of images, in order."""

    parts: tuple[Path, ...]

    def columns(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Part by part; the bytes of other columns are not read."""
        for part in self.parts:
            yield pq.ParquetFile(part).read(columns=list(names)).select(list(names))

    def tables(self) -> Iterator[pa.Table]:
        """Part by part, all columns."""
        return self.columns(LOOKED.names)


def looked(folder: Path, frames: Frames, model: Inference) -> Vectors:
    """Has the model look at all images that no part of `folder` holds yet. Parts of other models and files go."""
    home = folder / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    pieces = [(home / _name(piece, model), piece) for piece in frames.pieces()]
    wanted = {part.name for part, _ in pieces}
    done = refused = 0
    with Progress("predict", sum(piece.rows for _, piece in pieces), "images") as progress:
        for part, piece in sorted(pieces, key=lambda one: not one[0].exists()):
            if not part.exists():
                write_part(part, piece.looked(model))
            done += piece.rows
            refused += _refused(part)
            progress.update(done, refused=refused)
    for stale in home.iterdir():
        if stale.name not in wanted:
            stale.unlink()
    return Vectors(tuple(part for part, _ in pieces))


def matrix(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the rows that were read, and their vectors (n, D) float32."""
    column = table["vector"].combine_chunks()
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    data = b"".join(column.take(pa.array(rows)).to_pylist())
    return rows, np.frombuffer(data, "<f4").reshape(len(rows), -1) if len(rows) else np.zeros((0, 0), "<f4")


def _name(piece: Piece, model: Inference) -> str:
    return hashlib.sha256(f"{model.weights} {piece.name}".encode()).hexdigest()[:32] + ".parquet"


def write_part(part: Path, table: pa.Table) -> None:
    """Whole or not at all."""
    unfinished = part.with_suffix(".unfinished")
    pq.write_table(table, unfinished, compression="zstd", use_dictionary=False)
    os.replace(unfinished, part)


def _refused(part: Path) -> int:
    (column,) = pq.ParquetFile(part).read(columns=["refused"]).columns
    return len(column) - column.null_count
