"""The images of a dataset version and their texts as vectors, with what is known of each, in files that are mapped.

Made once of a model and a version and found again by name: INDEX-KEY.f32 and .arrow hold the images, in the order of
the version's items, TEXTS-KEY.f32 and .json its texts. Nothing of a million images is a Python object afterwards.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dataset import Dataset
from pipelines.evaluate.light import day_or_night
from pipelines.predictions.answers import ANSWER, Answerer
from pipelines.predictions.dataset_frames import DatasetFrames
from pipelines.predictions.frames import chunk
from pipelines.predictions.vectors import Vectors, looked
from pipelines.progress import Progress
from pipelines.taxa import class_of
from xmodal.inference import Inference

FORMAT = 1
LOOKED = ("media_id", "event_id", "deployment_id", "survey", "captured_at", "utc_offset", "crop", "place")
KNOWN = pa.schema(
    [
        ("item", pa.int32()),
        ("row", pa.int32()),
        ("file", pa.string()),  # path in the archive
        ("media_id", pa.string()),
        ("event_id", pa.string()),
        ("deployment_id", pa.string()),
        ("survey", pa.string()),
        ("captured_at", pa.string()),  # local wall time; null = unknown
        ("utc_offset", pa.int32()),
        ("crop", pa.string()),
        ("place", pa.string()),  # hash of survey and place
        ("split", pa.string()),
        ("light", pa.string()),  # day | night; null = not known
        ("label", pa.string()),  # species, else the taxon at its rank, else the kind of frame; null = nobody said
        ("caption", pa.string()),  # the first text; null = it has none
    ]
)
ABOUT = pa.schema([*KNOWN, *ANSWER])
TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class Index:
    """N images and M texts."""

    images: NDArray[np.float32]
    """(N, D) unit vectors, mapped."""
    about: pa.Table
    """ABOUT, mapped; the answer's columns are null where `evaluate` has not said how far the model can be believed."""
    texts: NDArray[np.float32]
    """(M, D)."""
    captions: list[str]
    """The M texts, each once."""

    def __len__(self) -> int:
        return len(self.images)

    def row(self, image: int) -> dict[str, Any]:
        """ABOUT of one image."""
        (found,) = self.about.slice(image, 1).to_pylist()
        return found


def opened(folder: Path, frames: DatasetFrames, model: Inference, answerer: Answerer | None) -> Index:
    """The index below `folder`, made where it is not there yet: the model looks at what it has not seen."""
    vectors = looked(folder, frames, model)
    key = _key(vectors, answerer)
    images, about = folder / f"images-{key}.f32", folder / f"images-{key}.arrow"
    texts, captions = folder / f"texts-{key}.f32", folder / f"texts-{key}.json"
    if not about.exists():
        _write_images(images, about, frames.dataset, vectors, answerer)
    if not captions.exists():
        _write_texts(texts, captions, frames.dataset, model)
    for stale in folder.glob("*-*.*"):
        if stale not in (images, about, texts, captions):
            stale.unlink()
    return Index(
        _mapped(images, model),
        pa.ipc.open_file(pa.memory_map(str(about))).read_all(),
        _mapped(texts, model),
        json.loads(captions.read_text(encoding="utf-8")),
    )


def _key(vectors: Vectors, answerer: Answerer | None) -> str:
    told = [FORMAT, [part.name for part in vectors.parts], None if answerer is None else repr(
        (answerer.temperature, answerer.of_frames, answerer.ladder.species))]  # fmt: skip
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _mapped(file: Path, model: Inference) -> NDArray[np.float32]:
    width = model.network.settings.embed_dim
    if not file.stat().st_size:
        return np.zeros((0, width), np.float32)
    return np.memmap(file, "<f4", mode="c").reshape(-1, width)  # torch wants it writable; nothing writes


def _write_images(images: Path, about: Path, dataset: Dataset, vectors: Vectors, answerer: Answerer | None) -> None:
    """Part by part; `about` comes last, so that what is there is whole."""
    unfinished = about.with_suffix(".unfinished")
    total = sum(item.rows for item in dataset.items)
    done = 0
    with (
        images.open("wb") as file,
        pa.OSFile(str(unfinished), "wb") as sink,
        pa.ipc.new_file(sink, ABOUT) as writer,
        Progress("index", total, "images") as progress,
    ):
        for item, part in zip(dataset.items, vectors.tables(), strict=True):
            found = np.frombuffer(b"".join(part["vector"].to_pylist()), "<f4").reshape(len(part), -1)
            file.write(found.tobytes())
            known = _known(dataset, item.index, part)
            writer.write_table(_answered(known, found, answerer))
            done += len(part)
            progress.update(done)
    os.replace(unfinished, about)


def _known(dataset: Dataset, item: int, part: pa.Table) -> pa.Table:
    """KNOWN of the rows of an item."""
    records = dataset.read_item(item, "records", ["split", "captions"])
    facts = [json.loads(one or b"{}") for one in part["facts"].to_pylist()]
    texts = [json.loads(one or b"[]") for one in records["captions"].to_pylist()]
    columns: dict[str, Any] = {name: part[name] for name in LOOKED} | {
        "item": [item] * len(part),
        "row": list(range(len(part))),
        "file": part["key"],
        "split": records["split"],
        "light": [day_or_night(one) if "infrared" in one else None for one in facts],
        "label": [class_of(one) or None for one in facts],
        "caption": [one[0]["text"] if one else None for one in texts],
    }
    return pa.table([chunk(columns[field.name], field.type) for field in KNOWN], schema=KNOWN)


def _answered(known: pa.Table, vectors: NDArray[np.float32], answerer: Answerer | None) -> pa.Table:
    if answerer is None:
        answers = pa.table([pa.nulls(len(known), field.type) for field in ANSWER], schema=ANSWER)
    else:
        answers = answerer.frames(answerer.probabilities(vectors))
    return pa.table([*known.columns, *answers.columns], schema=ABOUT)


def _write_texts(texts: Path, captions: Path, dataset: Dataset, model: Inference) -> None:
    every = list(_texts(dataset))
    with texts.open("wb") as file, Progress("texts", len(every), "texts") as progress:
        for begin in range(0, len(every), TEXTS_AT_ONCE):
            some = every[begin : begin + TEXTS_AT_ONCE]
            file.write(model.text_vectors(some).numpy().astype("<f4").tobytes())
            progress.update(begin + len(some))
    unfinished = captions.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(every, ensure_ascii=False), encoding="utf-8")
    os.replace(unfinished, captions)


def _texts(dataset: Dataset) -> Iterator[str]:
    """Each text that is written of an image, once."""
    seen: set[str] = set()
    for item in dataset.items:
        written = dataset.read_item(item.index, "records", ["captions"])["captions"].to_pylist()
        texts = dict.fromkeys(one["text"] for captions in written for one in json.loads(captions or b"[]"))
        yield from (text for text in texts if text not in seen)
        seen.update(texts)
