"""Where the first worker of a run writes how far it is, and the driver's display reads it.

It is a process of its own, so this module imports little.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipelines.progress import Progress


@ray.remote(num_cpus=0)
class ProgressBoard:
    """The latest state of a run, written by its first worker and read by the driver's display."""

    def __init__(self) -> None:
        self.state: tuple[int, dict[str, str]] = (0, {})

    def update(self, done: int, facts: dict[str, str]) -> None:
        self.state = (done, facts)

    def read(self) -> tuple[int, dict[str, str]]:
        return self.state


@contextmanager
def shown_progress(samples: int) -> Iterator[Any]:
    """A board for the workers of a run of so many samples, displayed until the block ends."""
    board = ProgressBoard.remote()
    ended = threading.Event()
    with Progress("train", samples, "samples") as progress:
        watcher = threading.Thread(target=_watch, args=(board, progress, ended), daemon=True)
        watcher.start()
        try:
            yield board
        finally:
            ended.set()
            watcher.join()
        _show(board, progress)  # what the last second brought


def _watch(board: Any, progress: Progress, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        _show(board, progress)


def _show(board: Any, progress: Progress) -> None:
    done, facts = ray.get(board.read.remote())
    if done:
        progress.update(done, **facts)
