"""Features that the archive itself brings (encoder kind `precomputed`): copied, row by row, beside the pixel part."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from infra.storage import NotFound, Store
from pipelines.errors import DataRefused, Failed
from pipelines.prepare.parts import PIXELS, read_columns
from pipelines.sources.npy_members import SUFFIX, StoredArray, member
from xmodal.encoders.precomputed import Precomputed
from xmodal.positions import OUTSIDE, POSITION, SLOTS
from xmodal.regions import read_regions

if TYPE_CHECKING:
    from pipelines.prepare.features import FeatureTask

READERS = 16
"""Rows in flight of one worker."""
GUIDES = "_clip.npy"
"""End of the name of the array of guides that lies beside an `*_ims.npy`."""
BOXES = "_boxes.npy"
"""The same of the array of positions, as PFAN's authors made it: 15 ids of blocks, then 15 weights, of each region."""
WHAT = {GUIDES: "guides", BOXES: "positions"}


class StoredFeatures:
    """Pixel part to feature part. Raises DataRefused where the archive has no features of the encoder's shape, Failed
    where they are not those that the pixel part was made of."""

    def __init__(self, settings: Precomputed) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(READERS)
        self._open: dict[tuple[str, str], StoredArray] = {}

    def __call__(self, task: "FeatureTask") -> bytes:
        rows = read_columns(task.home, task.part["path"], ["sample_id", "key", "source_sha256"], PIXELS).to_pylist()
        found = list(self._pool.map(lambda row: self._features(task.archive, row), rows))
        fixed = pa.array(found, pa.binary(len(found[0])))
        table = pa.table([[row["sample_id"] for row in rows], fixed], names=["sample_id", "features"])
        return task.write(table, [self._settings.tokens, self._settings.token_width])

    def _features(self, archive: Store, row: dict[str, Any]) -> bytes:
        """(R or R + 1, W or W + 30) float16 of one image, its guide last, a region's position behind its numbers."""
        settings = self._settings
        try:
            container, number = member(row["key"])
        except ValueError as error:
            raise DataRefused(f"image.kind precomputed: {archive.url}: {error}") from None
        data = self._array(archive, container).row_file(number)
        if hashlib.sha256(data).digest() != row["source_sha256"]:
            raise Failed(f"{archive.url}/{row['key']}: it has changed since it was read; run again")
        regions = read_regions(data)
        if regions.shape != (settings.regions, settings.width):
            raise DataRefused(
                f"{archive.url}/{container}: regions of {regions.shape}; image.regions and image.width say "
                f"({settings.regions}, {settings.width})"
            )
        tokens = np.zeros((settings.tokens, settings.token_width), np.float16)
        with np.errstate(over="ignore"):
            tokens[: settings.regions, : settings.width] = regions
        if settings.guide_width:
            wanted = (settings.guide_width,)
            tokens[-1, : settings.guide_width] = self._beside(archive, container, GUIDES, number, wanted)
        if settings.positions:
            tokens[: settings.regions, settings.width :] = self._blocks(archive, container, number)
        if not np.isfinite(tokens).all():
            raise DataRefused(f"{archive.url}/{row['key']}: a feature beyond 65504, the largest that float16 holds")
        return tokens.tobytes()

    def _blocks(self, archive: Store, container: str, number: int) -> np.ndarray:
        """(R, 30) ids and weights of the blocks of an image's regions. Raises DataRefused."""
        found = self._beside(archive, container, BOXES, number, (self._settings.regions, POSITION))
        ids = found[:, :SLOTS]
        if not np.isin(ids, np.arange(OUTSIDE + 1)).all():
            key = container[: -len(SUFFIX)] + BOXES
            raise DataRefused(f"{archive.url}/{key}: row {number}: an id of a block is none of 0 to {OUTSIDE}")
        return found

    def _beside(self, archive: Store, container: str, suffix: str, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """The image's row, of that shape, of an array that lies beside that of the regions. Raises DataRefused."""
        key, what = container[: -len(SUFFIX)] + suffix, WHAT[suffix]
        wanted = (self._array(archive, container).header.shape[0], *shape)
        try:
            found = self._array(archive, key)
        except (NotFound, ValueError):
            raise DataRefused(f"{archive.url}/{key}: no array of {what}; shape {wanted} is expected") from None
        if found.header.shape != wanted:
            raise DataRefused(f"{archive.url}/{key}: {what} of shape {found.header.shape}; {wanted} are expected")
        return found.row(number)

    def _array(self, archive: Store, key: str) -> StoredArray:
        """Opened once a process; two threads may both do so, to the same end."""
        if (archive.url, key) not in self._open:
            self._open[archive.url, key] = StoredArray(archive, key)
        return self._open[archive.url, key]
