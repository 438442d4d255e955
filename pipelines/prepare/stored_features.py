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
from xmodal.regions import read_regions

if TYPE_CHECKING:
    from pipelines.prepare.features import FeatureTask

READERS = 16
"""Rows in flight of one worker."""
GUIDES = "_clip.npy"
"""End of the name of the array of guides that lies beside an `*_ims.npy`."""


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
        return task.write(table, [self._settings.tokens, self._settings.width])

    def _features(self, archive: Store, row: dict[str, Any]) -> bytes:
        """(R or R + 1, W) float16 of one image, its guide last."""
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
        tokens = np.zeros((settings.tokens, settings.width), np.float16)
        with np.errstate(over="ignore"):
            tokens[: settings.regions] = regions
        if settings.guide_width:
            tokens[-1, : settings.guide_width] = self._guide(archive, container, number)
        if not np.isfinite(tokens).all():
            raise DataRefused(f"{archive.url}/{row['key']}: a feature beyond 65504, the largest that float16 holds")
        return tokens.tobytes()

    def _guide(self, archive: Store, container: str, number: int) -> np.ndarray:
        """(G,) the image's vector from the array of guides. Raises DataRefused."""
        key = container[: -len(SUFFIX)] + GUIDES
        wanted = (self._array(archive, container).header.shape[0], self._settings.guide_width)
        try:
            guides = self._array(archive, key)
        except (NotFound, ValueError):
            raise DataRefused(f"{archive.url}/{key}: no array of guides; shape {wanted} is expected") from None
        if guides.header.shape != wanted:
            raise DataRefused(f"{archive.url}/{key}: guides of shape {guides.header.shape}; {wanted} are expected")
        return guides.row(number)

    def _array(self, archive: Store, key: str) -> StoredArray:
        """Opened once a process; two threads may both do so, to the same end."""
        if (archive.url, key) not in self._open:
            self._open[archive.url, key] = StoredArray(archive, key)
        return self._open[archive.url, key]
