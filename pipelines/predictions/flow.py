"""`xmodal predict classify --to FOLDER`: what the model makes of each image, then answers, then the files.

The first part takes hours and goes on where it was cut; the rest is read from its parts and takes minutes, so that
another precision or format costs no second look.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch

from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.places import root_store
from pipelines.predictions.answers import UNKNOWN, Answerer
from pipelines.predictions.asked import Asking
from pipelines.predictions.camtrap_append import AppendedPackage, Given
from pipelines.predictions.camtrap_dp import NewPackage
from pipelines.predictions.dataset_frames import DatasetFrames
from pipelines.predictions.deployments import Deployed, read_deployments
from pipelines.predictions.events import Events, Pool
from pipelines.predictions.folder_frames import FolderFrames
from pipelines.predictions.frames import Frames
from pipelines.predictions.ladder import FINDINGS, Ladder
from pipelines.predictions.made_by import MADE_BY, Maker
from pipelines.predictions.megadetector import MegaDetectorFile
from pipelines.predictions.moments import Moments, offset_seconds
from pipelines.predictions.review import ReviewFile, budget_file, check_review
from pipelines.predictions.table import Tables
from pipelines.predictions.trust import check_precision, find
from pipelines.predictions.vectors import Vectors, looked, matrix
from pipelines.predictions.whole import Whole, swept
from pipelines.progress import Progress
from pipelines.recipe import Recipe
from pipelines.train.runs import opened, run_of
from xmodal.inference import Inference
from xmodal.settings import load


@dataclass(frozen=True)
class Request:
    """What the verb was asked for."""

    checkpoint: str
    folder: Path
    """Where everything goes."""
    images: tuple[str, ...] = ()
    """One directory, or `s3://bucket/prefix`."""
    dataset: str | None = None
    """NAME or NAME@VERSION."""
    survey: str | None = None
    root: str | None = None
    card: str | None = None
    precision: float = 0.95
    reviewed: bool = False
    """Whether people's labels stand in place of the model's answers, in a new package."""
    public: bool = False
    """Whether bare files of a new package may be shown to everybody: somebody has looked for people."""
    deployments: str | None = None
    """Table for a new Camtrap DP package."""
    package: str | None = None
    """Camtrap DP package whose copy gets the observations."""
    utc_offset: str | None = None
    unlabelled: bool = False
    """Only images that people have not labelled."""
    review: Path | None = None
    """Where what people should look at goes."""
    seconds_a_look: float | None = None
    """None = as the model's recipe says."""


class Output(Protocol):
    """Files that are written as answers come."""

    def frames(self, rows: pa.Table) -> None: ...

    def events(self, rows: pa.Table) -> None: ...

    def finish(self) -> list[str]:
        """Closes them; returns their names, and what else there is to tell."""
        ...


def classify(request: Request) -> str:
    """What was written, a line a file. Raises NotFound, SettingsError and DataRefused before any long work."""
    check_precision(request.precision)
    reviews = [request.review] if request.review else []
    for file in reviews:
        check_review(file, request.folder)
    store = root_store(request.root)
    run = run_of(store, request.checkpoint)
    with opened(store, request.checkpoint) as directory:
        model = Inference.load(directory, "cuda" if torch.cuda.is_available() else "cpu")
    if not model.state["taxa"]:
        raise NotFound("this model was trained on no named species, so it cannot classify")
    trust, frames = find(run, request.card, model), _frames(request, store, model)
    maker = Maker.of(request.folder, model, trust, request.precision, frames.told)
    answerer = Answerer.of(model, trust, request.precision)
    with swept(request.folder, *(own for file in reviews for own in (file, budget_file(file)))):
        outputs = _outputs(request, frames, maker, answerer, _pace(request, model))
        return outputs.write(looked(request.folder, frames, model))


def _frames(request: Request, store: Store, model: Inference) -> Frames:
    if request.dataset is None:
        (folder,) = request.images
        return FolderFrames.of(folder, model)
    return DatasetFrames.of(Dataset.named(store, request.dataset), model, request.survey, request.unlabelled)


def _pace(request: Request, model: Inference) -> float:
    """Seconds a look."""
    return request.seconds_a_look or load(Recipe, (), below=model.recipe).evaluation.seconds_a_look


def _outputs(request: Request, frames: Frames, maker: Maker, answerer: Answerer, seconds: float) -> "Outputs":
    """A package, which may be refused at its end, comes before what is always written."""
    folder, ladder = request.folder, answerer.ladder
    packages = list(_packages(request, frames, maker, ladder))
    every: list[Output] = [*packages, Tables(folder, maker), MegaDetectorFile(folder, maker, ladder)]
    if request.review is not None:
        every.append(ReviewFile(request.review, maker, Asking.of(ladder, maker.trust), seconds))
    return Outputs(folder, maker, answerer, every)


def _packages(request: Request, frames: Frames, maker: Maker, ladder: Ladder) -> Iterator[Output]:
    """The Camtrap DP package that was asked for, if any. Raises SettingsError, DataRefused, what storage raises."""
    moments = Moments(offset_seconds(request.utc_offset) if request.utc_offset else None)
    if request.deployments is not None:
        frames.check_one_survey()
        deployed = Deployed(read_deployments(request.deployments), request.deployments)
        deployed.check(frames.deployments())
        public = frames.vetted or request.public
        yield NewPackage(request.folder, maker, ladder, deployed, moments, public, request.reviewed)
    if request.package is not None:
        frames.check_one_survey()
        given = Given.read(request.package)
        given.check(frames.media())
        given.warn_of_strangers(ladder)
        yield AppendedPackage(request.folder, maker, ladder, given, moments)


@dataclass(frozen=True)
class Outputs:
    """Everything that is written from the vectors."""

    folder: Path
    maker: Maker
    answerer: Answerer
    every: list[Output]

    def write(self, vectors: Vectors) -> str:
        """Streams the parts through all outputs: in memory are a part, the open events, and what is known of all."""
        events, counts, begin = Events.of(vectors), Counter[str](), 0
        pool = Pool(events)
        with Progress("write", len(events.of_row), "images") as progress:
            for part in vectors.tables():
                rows, found = matrix(part)
                probabilities = self.answerer.probabilities(found)
                answers, event = self.answerer.frames(probabilities), events.of_part(begin, len(part))
                frames = _frames_table(part, event, rows, answers)
                whole, pooled = pool.add(begin, len(part), rows, probabilities)
                _extend(self.every, frames, _beside(events.about.take(pa.array(whole)), self.answerer.events(pooled)))
                counts.update(_kinds(frames))
                begin += len(part)
                progress.update(begin)
        files = [name for output in self.every for name in output.finish()]
        return "\n".join([*files, self._describe(counts), _sentence(counts)])

    def _describe(self, counts: Counter[str]) -> str:
        file = Whole(self.folder / MADE_BY)
        document = self.maker.document | {"images": dict(sorted(counts.items()))}
        file.text().write(json.dumps(document, ensure_ascii=False, indent=1))
        return file.keep()


def _extend(outputs: list[Output], frames: pa.Table, events: pa.Table) -> None:
    for output in outputs:
        output.frames(frames)
        output.events(events)


def _frames_table(part: pa.Table, event: pa.Table, rows: np.ndarray, answers: pa.Table) -> pa.Table:
    """What is known of each frame of a part, its event, and its answer; null where it could not be read."""
    where = np.full(len(part), -1)
    where[rows] = np.arange(len(rows))
    spread = answers.take(pa.array(where, mask=where < 0))
    known = part.drop_columns(["vector", "event_id"]).rename_columns({"key": "file"})
    return _beside(_beside(known, event.rename_columns(["event_id", "event_start", "event_end"])), spread)


def _beside(left: pa.Table, right: pa.Table) -> pa.Table:
    """The columns of both, row by row."""
    for name in right.column_names:
        left = left.append_column(name, right[name])
    return left


def _kinds(frames: pa.Table) -> Iterator[str]:
    """Of each frame what it was called: its rank, animal, blank, unknown, or refused."""
    columns = (frames[name].to_pylist() for name in ("refused", "rank", "type"))
    return ("refused" if refused else rank or kind for refused, rank, kind in zip(*columns, strict=True))


def _sentence(counts: Counter[str]) -> str:
    every = counts.total()
    told = ", ".join(f"{name} {counts[name]:,}" for name in (*FINDINGS, UNKNOWN, "refused") if counts[name])
    given = every - counts[UNKNOWN] - counts["refused"]
    return f"{every:,} images: {told}; {100 * given / every:.1f} % answered, {UNKNOWN} is left to people"
