"""The images that are asked about, in pieces of some hundred, each with what is known of it before anyone looks."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import torch

from xmodal.inference import Inference

LOOKED = pa.schema(
    [
        ("key", pa.string()),  # path in the archive, or below the folder
        ("media_id", pa.string()),
        ("event_id", pa.string()),
        ("deployment_id", pa.string()),
        ("survey", pa.string()),
        ("place", pa.string()),  # hash of survey and place; null = unknown
        ("captured_at", pa.string()),  # local wall time "YYYY-MM-DD HH:MM:SS"; null = unknown
        ("utc_offset", pa.int32()),  # seconds east; null = unknown
        ("crop", pa.string()),  # x,y,width,height of what was looked at; null = all of the frame
        ("n_boxes", pa.int32()),  # null = no detector ran
        ("boxes", pa.binary()),  # as RECORDS has them
        ("box_conf", pa.binary()),
        ("box_class", pa.binary()),
        ("facts", pa.binary()),  # what is recorded of it, and what machines said, as RECORDS has them
        ("incumbents", pa.binary()),
        ("refused", pa.string()),  # why a file could not be read; null = it was
        ("vector", pa.binary()),  # float32 (D,), unit length; null where it was not read
    ]
)


class Piece(Protocol):
    """Some images, named by all that the answer depends on."""

    @property
    def name(self) -> str: ...

    @property
    def rows(self) -> int: ...

    def looked(self, model: Inference) -> pa.Table:
        """LOOKED rows."""
        ...


class Frames(Protocol):
    """All images of a dataset version or of a folder."""

    @property
    def told(self) -> dict[str, Any]:
        """What they are, for the record of what was made of what."""
        ...

    @property
    def vetted(self) -> bool:
        """Whether people, and frames that are not public, were kept out."""
        ...

    def pieces(self) -> Iterator[Piece]: ...

    def media(self) -> pa.Table:
        """media_id and file of every image."""
        ...

    def deployments(self) -> dict[str | None, int]:
        """Images of each deployment."""
        ...

    def check_one_survey(self) -> None:
        """Raises SettingsError where they are of several surveys, whose ids are their own."""
        ...


def as_bytes(found: torch.Tensor) -> list[bytes]:
    """(N, D) float32, little-endian, row by row."""
    return [row.tobytes() for row in found.numpy().astype("<f4")]


def table(columns: dict[str, Any], found: Sequence[bytes | None], refused: Sequence[str | None]) -> pa.Table:
    """LOOKED of the columns that are known."""
    whole = columns | {"vector": found, "refused": refused}
    absent = pa.nulls(len(found))
    return pa.table([chunk(whole.get(field.name, absent), field.type) for field in LOOKED], schema=LOOKED)


def chunk(values: Any, kind: pa.DataType) -> pa.Array:
    """Values of Python or of Arrow as one array of a kind."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)
