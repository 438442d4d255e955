"""`xmodal serve`: opens model, version and index, and serves the page until it is interrupted."""

import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import uvicorn

from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.places import root_store
from pipelines.predictions.answers import Answerer
from pipelines.predictions.dataset_frames import DatasetFrames
from pipelines.predictions.deployments import read_deployments
from pipelines.predictions.ladder import Ladder
from pipelines.predictions.made_by import Maker
from pipelines.predictions.moments import Moments, offset_seconds
from pipelines.predictions.trust import Trust, check_precision, find
from pipelines.progress import warn
from pipelines.serve.app import build
from pipelines.serve.attention import Attention
from pipelines.serve.desk import Desk
from pipelines.serve.facets import Facets
from pipelines.serve.guard import LOOPBACK, Guard
from pipelines.serve.index import opened as index_of
from pipelines.serve.pictures import Pictures
from pipelines.serve.review import Review
from pipelines.serve.selection import Packing, Selection
from pipelines.train.runs import Run, opened, run_of
from xmodal.inference import Inference
from xmodal.settings import SettingsError


@dataclass(frozen=True)
class Wishes:
    """What the verb was asked for."""

    checkpoint: str
    dataset: str | None = None
    """NAME or NAME@VERSION; None = the version that the model was trained on."""
    root: str | None = None
    host: str = "127.0.0.1"
    port: int = 8765
    """0 = any that is free."""
    token: str | None = None
    folder: Path | None = None
    """Where the index goes."""
    review: Path = Path("corrections.csv")
    precision: float = 0.95
    card: str | None = None
    deployments: str | None = None
    utc_offset: str | None = None


def serve(wishes: Wishes) -> None:
    """Until Ctrl-C. Raises SettingsError, NotFound, DataRefused before anything is served."""
    with _opened(wishes) as (server, listening, where):
        print(where, flush=True)
        print(f"corrections go to {wishes.review}; Ctrl-C ends this", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):  # which uvicorn raises again once it has stopped
            server.run([listening])


@contextmanager
def served(wishes: Wishes) -> Iterator[str]:
    """The page beside what this process does else, as long as the block; its address. Raises as `serve`."""
    with _opened(wishes) as (server, listening, where):
        thread = threading.Thread(target=server.run, args=([listening],), name="search page", daemon=True)
        thread.start()
        try:
            yield where
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _opened(wishes: Wishes) -> Iterator[tuple[uvicorn.Server, socket.socket, str]]:
    """A server, what it listens on and its address."""
    guard = guard_of(wishes)
    with _listening(wishes) as listening:
        app = build(desk_of(wishes), guard)
        where = address(wishes.host, listening.getsockname()[1], guard.token)
        yield uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)), listening, where


def _listening(wishes: Wishes) -> socket.socket:
    """Before the long work, so that a port that is taken is known at once. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in wishes.host else socket.AF_INET
    try:
        return socket.create_server((wishes.host, wishes.port), family=family)
    except OSError as error:
        raise SettingsError(
            f"--host {wishes.host} --port {wishes.port}: cannot listen there: {error.strerror}"
        ) from None


def address(host: str, port: int, token: str) -> str:
    """What to open."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def guard_of(wishes: Wishes) -> Guard:
    """Loopback needs no token; beyond it one is made where none is given."""
    if wishes.host in LOOPBACK:
        return Guard(LOOPBACK, wishes.token or "")
    warn(
        f"--host {wishes.host}: whoever has the token sees these images; put TLS before it where the network is shared"
    )
    return Guard((), wishes.token or secrets.token_urlsafe(24))


def desk_of(wishes: Wishes) -> Desk:
    """Everything that the page shows. Raises SettingsError, NotFound, DataRefused."""
    check_precision(wishes.precision)
    store = root_store(wishes.root)
    run = run_of(store, wishes.checkpoint)
    with opened(store, wishes.checkpoint) as directory:
        model = Inference.load(directory, "cuda" if torch.cuda.is_available() else "cpu")
    if model.network.settings.text.kind == "precomputed":
        raise SettingsError("this model reads no texts: it was trained on precomputed features")
    dataset = _dataset(store, wishes, model)
    frames = DatasetFrames.of(dataset, model, None)
    trust = _trust(run, wishes.card, model)
    answerer = Answerer.of(model, trust, wishes.precision) if trust else None
    folder = wishes.folder or Path(".xmodal/index") / f"{model.weights[:12]}-{dataset.name}-{dataset.version}"
    index = index_of(folder, frames, model, answerer)
    maker = Maker.of(folder, model, trust, wishes.precision, frames.told) if trust else None
    packing = _packing(wishes, answerer.ladder) if answerer else None
    review = Review(wishes.review)
    return Desk(
        model=model,
        dataset=dataset,
        index=index,
        facets=Facets.of(index),
        pictures=Pictures(dataset),
        images=frames.images,
        review=review,
        selection=Selection(index, review, maker, packing),
        attention=Attention.of(model),
    )


def _dataset(store: Store, wishes: Wishes, model: Inference) -> Dataset:
    if wishes.dataset is None:
        return Dataset.open(store, model.state["dataset"], model.state["dataset_version"])
    return Dataset.named(store, wishes.dataset)


def _trust(run: Run | None, card: str | None, model: Inference) -> Trust | None:
    """What `evaluate` found out; without it the page shows no answers, and says so."""
    if not model.state["taxa"]:
        return None
    try:
        return find(run, card, model)
    except NotFound as error:
        warn(f"{error}; until then the page shows no answers of the model")
        return None


def _packing(wishes: Wishes, ladder: Ladder) -> Packing | None:
    if wishes.deployments is None:
        return None
    moments = Moments(offset_seconds(wishes.utc_offset) if wishes.utc_offset else None)
    return Packing(ladder, read_deployments(wishes.deployments), wishes.deployments, moments)
