"""A run's place in the store, and which of its checkpoints count.

`ROOT/runs/NAME/` holds what Ray Train keeps of a run (checkpoints and `checkpoint_manager_snapshot.json`) and our
`run.json` (the MLflow run) and `result.json`, which is written once the run is complete. A checkpoint counts when the
snapshot names it and its manifest verifies; a directory alone may be a torn upload.
"""

import difflib
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.storage import Denied, Store, open_store
from infra.storage import NotFound as MissingObject
from pipelines.errors import Failed, NotFound
from pipelines.progress import warn
from xmodal import checkpoint

SNAPSHOT = "checkpoint_manager_snapshot.json"
CHECKPOINT = "checkpoint-"
"""Start of the names of a run's checkpoint directories."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that the snapshot names: its directory, the optimizer step it was taken at, and its metrics."""

    directory: str
    step: int
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """The run `name` below `ROOT/runs`."""

    store: Store
    name: str

    @property
    def prefix(self) -> str:
        return f"runs/{self.name}"

    def read(self, document: str) -> dict[str, Any] | None:
        """One of the run's JSON documents; None where it does not exist."""
        try:
            return json.loads(self.store.read(f"{self.prefix}/{document}"))
        except MissingObject:
            return None

    def write(self, document: str, content: dict[str, Any]) -> None:
        self.store.put(f"{self.prefix}/{document}", json.dumps(content, indent=1).encode())

    def delete(self, document: str) -> None:
        self.store.delete([f"{self.prefix}/{document}"])

    def saved(self) -> list[Saved]:
        """The checkpoints that count as far as Ray's snapshot says, newest first."""
        snapshot = self.read(SNAPSHOT)
        named = [] if snapshot is None else snapshot["checkpoint_results"]
        found = [Saved(one["checkpoint_dir_name"], one["metrics"]["step"], one["metrics"]) for one in reversed(named)]
        return sorted(found, key=lambda one: one.step, reverse=True)  # of one step the last that was saved comes first

    def best(self) -> list[Saved]:
        """The same, best validation score first."""
        return sorted(self.saved(), key=lambda one: one.metrics["score"], reverse=True)


@contextmanager
def fetched(store: Store, prefix: str) -> Iterator[Path]:
    """A checkpoint below `prefix` as a verified local directory. Raises checkpoint.Damaged, NotFound."""
    with tempfile.TemporaryDirectory(prefix="xmodal-checkpoint-") as temporary:
        directory = Path(temporary)
        for entry in store.list(prefix.rstrip("/") + "/"):
            name = entry.key.removeprefix(prefix.rstrip("/") + "/")
            (directory / name).write_bytes(store.read(entry.key))
        checkpoint.verify(directory)
        yield directory


@contextmanager
def sound(run: Run, candidates: list[Saved]) -> Iterator[tuple[Saved, Path]]:
    """The first of `candidates` that verifies, and where it lies. Says what it passed over. Raises checkpoint.Damaged
    where none of them verifies."""
    problems = []
    with ExitStack() as stack:
        for saved in candidates:
            try:
                directory = stack.enter_context(fetched(run.store, f"{run.prefix}/{saved.directory}"))
            except checkpoint.Damaged as error:
                problems.append(f"{saved.directory}: {error}")
                continue
            for problem in problems:
                warn(f"{run.prefix}/{problem}; {saved.directory} is taken instead")
            yield saved, directory
            return
    raise checkpoint.Damaged("; ".join(problems))


@contextmanager
def newest(run: Run) -> Iterator[tuple[Saved, Path] | None]:
    """The newest checkpoint of `run` that verifies, and where it lies; None where the run has none yet.

    Raises checkpoint.Damaged where the run has checkpoints and none of them verifies, Failed where that one was made by
    a run of another name: of another recipe, dataset version or attempt.
    """
    if not (candidates := run.saved()):
        yield None
        return
    with sound(run, candidates) as (saved, directory):
        maker = checkpoint.read_state(directory)["run"]
        if maker != run.name:
            raise Failed(
                f"{run.prefix}/{saved.directory} is a checkpoint of the run {maker}, of another recipe or dataset; "
                "move it away, or name it in train.init_from to begin with its weights"
            )
        yield saved, directory


def resumable(run: Run) -> Saved | None:
    """What `newest` finds, where only its step is wanted."""
    with newest(run) as found:
        return found and found[0]


def sweep(run: Run) -> None:
    """Deletes what killed uploads left: checkpoint directories that the snapshot does not name, and unfinished objects.
    Not while the run saves. Where the store refuses, they stay: they only take room."""
    named = {saved.directory for saved in run.saved()}
    keys = (entry.key.removeprefix(f"{run.prefix}/") for entry in run.store.list(run.prefix))
    folders = {key.split("/")[0] for key in keys if key.startswith(CHECKPOINT) and "/" in key}
    with suppress(Denied):
        for folder in sorted(folders - named):
            run.store.delete_folder(f"{run.prefix}/{folder}")
        for leftover in list(run.store.leftovers(run.prefix)):
            run.store.clear(leftover)


@contextmanager
def opened(root: Store, where: str) -> Iterator[Path]:
    """The checkpoint that `where` names, verified and local: a checkpoint directory or URL, a run's directory or URL,
    or a run's name below ROOT (its best checkpoint that verifies). Raises checkpoint.Damaged, NotFound."""
    if (Path(where) / checkpoint.MANIFEST).exists():
        checkpoint.verify(Path(where))
        yield Path(where)
        return
    run = named(root, where)
    with sound(run, run.best()) as (_, directory):
        yield directory


def run_of(root: Store, where: str) -> Run | None:
    """The run whose checkpoint `opened` gives; None where `where` is a checkpoint directory. Raises NotFound."""
    return None if (Path(where) / checkpoint.MANIFEST).exists() else named(root, where)


def named(root: Store, where: str) -> Run:
    """The run of that name below ROOT, directory or URL. Raises NotFound where it has no checkpoint."""
    run = Run(root, where)
    if "/" in where:
        parent, _, name = where.rstrip("/").rpartition("/")
        run = Run(open_store(parent.removesuffix("/runs")), name)
    if not run.saved():
        names = run_names(root)
        near = difflib.get_close_matches(run.name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise NotFound(f"{where}: no checkpoint there; {hint}runs under {root.url}: {', '.join(names) or 'none'}")
    return run


def run_names(root: Store) -> list[str]:
    """Runs below ROOT that have a checkpoint."""
    keys = (entry.key for entry in root.list("runs/"))
    return sorted({key.split("/")[1] for key in keys if key.endswith(f"/{SNAPSHOT}")})
