"""Images that were picked on the page, as files to take away: a CSV, or a Camtrap DP package."""

import csv
import io
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.predictions.answers import ANSWER
from pipelines.predictions.camtrap_dp import NewPackage
from pipelines.predictions.deployments import Deployed, Rows
from pipelines.predictions.ladder import Ladder
from pipelines.predictions.made_by import Maker
from pipelines.predictions.moments import Moments
from pipelines.serve.index import Index
from pipelines.serve.review import Review
from pipelines.spreadsheets import safe
from xmodal.settings import SettingsError

COLUMNS = ("survey", "deployment_id", "media_id", "file", "event_id", "captured_at", "split", "label", "caption",
           "type", "taxon", "rank", "common_name", "confidence", "reason", "corrected_type", "corrected_name",
           "model")  # fmt: skip
PER_BATCH = 1024


@dataclass(frozen=True)
class Packing:
    """What a Camtrap DP package needs beside the images."""

    ladder: Ladder
    deployments: Rows
    file: str
    """Where these came from."""
    moments: Moments


@dataclass(frozen=True)
class Selection:
    """Takes images out of an index, with what people said of them."""

    index: Index
    review: Review
    maker: Maker | None
    """None where `evaluate` has not said how far the model can be believed: then there are no answers."""
    packing: Packing | None

    def rows(self, images: Sequence[int]) -> Iterator[dict[str, Any]]:
        """ABOUT of each image, and `said` (None = nothing was)."""
        for begin in range(0, len(images), PER_BATCH):
            part = self.index.about.take(pa.array(images[begin : begin + PER_BATCH], pa.int64()))
            for row in part.to_pylist():
                yield row | {"said": self.review.of(row["survey"], row["file"])}

    def csv(self, images: Sequence[int]) -> Iterator[bytes]:
        """COLUMNS of each image, cells safe for spreadsheets, in pieces."""
        model = self.maker.model if self.maker else ""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, row in enumerate(self.rows(images), start=1):
            said = row["said"]
            corrected = {"corrected_type": said.type, "corrected_name": said.name} if said else {}
            whole = row | corrected | {"model": model}
            writer.writerow([safe(whole.get(name)) for name in COLUMNS])
            if number % PER_BATCH == 0:
                yield _drained(stream)
        yield _drained(stream)

    def camtrap_dp(self, images: Sequence[int]) -> bytes:
        """A zip with a package of the images: the model's observations, and people's where they said something.

        Raises SettingsError where the server was not told what a package needs, DataRefused.
        """
        if self.maker is None or self.packing is None:
            lacking = "--deployments FILE" if self.maker else "answers: run `xmodal evaluate` first"
            raise SettingsError(f"a Camtrap DP package needs {lacking}")
        deployed = Deployed(self.packing.deployments, self.packing.file)
        rows = [_frame(row, self.packing.ladder) for row in self.rows(images)]
        deployed.check(dict.fromkeys({row["deployment_id"] for row in rows}, 1))
        if len({row["survey"] for row in rows}) > 1:
            raise SettingsError("a Camtrap DP package is of one survey: filter by one")
        with tempfile.TemporaryDirectory(prefix="xmodal-selection-") as folder:
            packing = self.packing
            package = NewPackage(Path(folder), self.maker, packing.ladder, deployed, packing.moments, True, False)
            package.frames(pa.Table.from_pylist(rows, _FRAMES))
            files = package.finish()
            return _zipped(files)


_FRAMES = pa.schema(
    [
        *((name, pa.string()) for name in ("file", "media_id", "event_id", "deployment_id", "survey", "captured_at")),
        *((name, pa.string()) for name in ("event_start", "event_end", "crop", "refused")),
        ("utc_offset", pa.int32()),
        ("by_a_person", pa.bool_()),
        *ANSWER,
    ]
)


def _frame(row: dict[str, Any], ladder: Ladder) -> dict[str, Any]:
    """As predictions have it; where a person spoke, the person's answer stands for the model's."""
    said, frame = row["said"], row | {"event_start": None, "event_end": None, "refused": None, "by_a_person": False}
    if said is None:
        return frame
    rank = next((one for one, names in ladder.names.items() if said.scientific_name in names), None)
    return frame | {
        "type": said.type, "taxon": said.scientific_name or None, "rank": rank, "common_name": said.common_name or None,
        "confidence": None, "reason": said.note or "said on the search page", "by_a_person": True,
    }  # fmt: skip


def _drained(stream: io.StringIO) -> bytes:
    data = stream.getvalue().encode()
    stream.seek(0)
    stream.truncate()
    return data


def _zipped(files: list[str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        for file in files:
            package.write(file, Path(file).name)
    return stream.getvalue()
