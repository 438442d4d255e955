"""`xmodal export CHECKPOINT --to FOLDER`: each kind in a folder of its own below it, whole or not at all."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.storage import Store
from pipelines.export.embeddings import Embeddings
from pipelines.export.graph_files import GraphFiles
from pipelines.export.huggingface import HuggingFaceFolder, read_card
from pipelines.export.origin import Origin
from pipelines.export.whole_folder import check_ours
from pipelines.places import root_store
from pipelines.progress import warn
from pipelines.train.runs import opened
from xmodal.inference import Inference
from xmodal.settings import SettingsError


@dataclass(frozen=True)
class Request:
    """What the verb was asked for."""

    checkpoint: str
    folder: str
    kinds: tuple[str, ...]
    dataset: str | None = None
    card: str | None = None
    root: str | None = None


class Export(Protocol):
    """One kind, ready to be written."""

    @property
    def kind(self) -> str: ...

    def write(self, folder: Path) -> None: ...


def export(request: Request) -> str:
    """What was written, a line a file with its size. Raises NotFound, SettingsError and Damaged before any long work,
    Failed."""
    if "://" in request.folder:
        raise SettingsError(f"--to {request.folder}: a folder of this machine is written; copy it from there")
    home, store = Path(request.folder), root_store(request.root)
    kinds = [kind for kind in EXPORTS if kind in request.kinds]
    for kind in kinds:
        check_ours(home / kind)
    with opened(store, request.checkpoint) as directory:
        model = Inference.load(directory)
        if not model.network.trains_vectors:
            warn("no task of this model has trained its vectors, and these come of nothing else: expect chance")
        for one in [EXPORTS[kind](request, store, directory, model) for kind in kinds]:
            one.write(home / one.kind)
    return "\n".join(line for kind in kinds for line in _told(home / kind))


def _huggingface(request: Request, store: Store, directory: Path, model: Inference) -> Export:
    return HuggingFaceFolder(directory, model, Origin.of(model), read_card(request.card, model))


def _onnx(request: Request, store: Store, directory: Path, model: Inference) -> Export:
    return GraphFiles.of(model, Origin.of(model))


def _embeddings(request: Request, store: Store, directory: Path, model: Inference) -> Export:
    return Embeddings.of(model, Origin.of(model), store, request.dataset)


EXPORTS: dict[str, Callable[[Request, Store, Path, Inference], Export]] = {
    "huggingface": _huggingface,
    "onnx": _onnx,
    "embeddings": _embeddings,
}
"""In the order in which they are written: the last takes longest, and a GPU where there is one."""


def _told(folder: Path) -> Iterator[str]:
    """A line a file, or for all whose names differ in a number alone."""
    for pattern, files in _alike(folder).items():
        size = sum(file.stat().st_size for file in files)
        name = files[0].relative_to(folder) if len(files) == 1 else pattern
        counted = "" if len(files) == 1 else f" in {len(files):,} files"
        yield f"{folder / name}  {_size(size)}{counted}"


def _alike(folder: Path) -> dict[str, list[Path]]:
    """Files by their names, in which a number is a star."""
    found: dict[str, list[Path]] = {}
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        found.setdefault(re.sub(r"\d{5}", "*", str(file.relative_to(folder))), []).append(file)
    return found


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"
