"""Which images and places a model was trained on, by the first bytes of their hashes: who has one can ask for it, who
has none learns no name.

Of an image that is the SHA-256 of its file as it lay in the archive, cut to 6 bytes: of ten million images one in 28
million strange files would be taken for one of them. Of a place it is the id that records have (`place`), which hides
little: docs/splits.md.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.parquet import read_parquet
from pipelines.dataset import Dataset
from pipelines.prepare.units import place_hash

TRAINED_ON = "trained_on.parquet"
PREFIX = 6
"""Bytes kept of an image's hash."""
SCHEMA = pa.schema([("kind", pa.string()), ("hash", pa.binary())])


@dataclass(frozen=True)
class TrainedOn:
    """Sets of hashes."""

    images: frozenset[bytes]
    """The first PREFIX bytes of the SHA-256 of each training image's file."""
    places: frozenset[bytes]
    """The ids of their places."""

    def image(self, file: Path) -> bool:
        """Whether this very file was trained on; a copy that was changed in any byte is another one."""
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()[:PREFIX] in self.images

    def place(self, survey: str, name: str) -> bool:
        """Whether a place of that name in that survey was trained on."""
        return place_hash(survey, name).encode() in self.places

    def to_bytes(self) -> bytes:
        """Equal sets give equal bytes."""
        kinds = ["image"] * len(self.images) + ["place"] * len(self.places)
        table = pa.table([kinds, [*sorted(self.images), *sorted(self.places)]], schema=SCHEMA)
        stream = io.BytesIO()
        pq.write_table(table, stream, compression="zstd")
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "TrainedOn":
        rows = read_parquet(data).to_pylist()
        images, places = (frozenset(row["hash"] for row in rows if row["kind"] == kind) for kind in ("image", "place"))
        return cls(images, places)


def trained_on(dataset: Dataset) -> TrainedOn:
    """What the train split of a dataset version holds."""
    rows = dataset.records(["survey", "media_id", "place"], split="train")
    files = dataset.ledger(["survey", "media_id", "sha256"]).filter(pc.field("sha256").is_valid())
    own = files.join(rows.select(["survey", "media_id"]), ["survey", "media_id"], join_type="left semi")
    images = frozenset(digest[:PREFIX] for digest in own["sha256"].to_pylist())
    return TrainedOn(images, frozenset(place.encode() for place in rows["place"].unique().to_pylist() if place))
