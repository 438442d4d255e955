"""Checkpoints on their way from the first worker to the store: written to its disk while training waits, then sent
while training goes on.

At most one is under way, so a machine holds one at a time and a store that is slower than training sets the pace. The
manifest goes last: a directory without it is torn, and what Ray's snapshot does not name is no checkpoint at all.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import ray

from infra.storage import Denied, StorageError
from infra.storage.patience import repeated
from pipelines.train.runs import Run
from xmodal import checkpoint


class Saves:
    """The checkpoints of one worker. What can be neither written nor sent for `patience` seconds ends the run: `board`
    is told, since the others know nothing of it, and the error is raised. What killed workers of the run left on this
    machine goes: a group begins once the one before is dead."""

    def __init__(self, run: Run, patience: float, board: Any):
        self.run, self.patience, self.board = run, patience, board
        for left in local(run):
            shutil.rmtree(left, ignore_errors=True)
        self.idle = Event()
        self.idle.set()

    def write(self, save: Callable[[Path], None]) -> Path:
        """A checkpoint that `save` writes into a new directory of this machine, once the one before has arrived. Raises
        Denied."""
        self.idle.wait()
        with self._telling():
            directory = repeated(self.patience, lambda: _written(save, _prefix(self.run)), StorageError)
        self.idle.clear()
        return directory

    def send(self, local: Path, name: str) -> None:
        """Into the run's directory `name`, called by Ray in a thread of its own; the local one goes. Raises
        StorageError."""
        try:
            with self._telling():
                for path in sorted(local.iterdir(), key=lambda path: path.name == checkpoint.MANIFEST):
                    self._put(f"{self.run.prefix}/{name}/{path.name}", path.read_bytes())
        finally:
            shutil.rmtree(local, ignore_errors=True)
            self.idle.set()

    def _put(self, key: str, data: bytes) -> None:
        """Writes, and looks whether it is there."""

        def attempt() -> None:
            etag = self.run.store.put(key, data)
            found = self.run.store.head(key)
            if found is None or (found.size, found.etag) != (len(data), etag):
                raise Denied(f"{self.run.store.url}/{key}: is not there as it was written")

        repeated(self.patience, attempt, StorageError)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            reason = (
                f"run {self.run.name} stopped: {error}; no checkpoint could be saved for {self.patience:.0f} s; what "
                "was saved before stays, and the same command goes on from there"
            )
            ray.get(self.board.stop.remote(reason))
            raise type(error)(reason) from None


def local(run: Run) -> list[Path]:
    """The run's checkpoints on this machine's disk."""
    return list(Path(tempfile.gettempdir()).glob(f"{_prefix(run)}*"))


def _prefix(run: Run) -> str:
    """Runs of one name below different roots are different ones."""
    return f"xmodal-save-{hashlib.sha256(f'{run.store.url}/{run.prefix}'.encode()).hexdigest()[:12]}-"


def _written(save: Callable[[Path], None], prefix: str) -> Path:
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        save(directory)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise Denied(f"{directory}: a checkpoint cannot be written here ({error.strerror or error})") from None
    return directory
