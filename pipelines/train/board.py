"""Where the workers of a run write how far it is, what is amiss, or why it has to stop, and the driver reads it.

It is a process of its own, so this module imports little, and stands on the driver's node: other nodes may go.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.progress import Progress, warn


@ray.remote(num_cpus=0)
class ProgressBoard:
    """The latest state of a run, written by its workers, read by the driver's display and at every start of a group."""

    def __init__(self) -> None:
        self.state: tuple[int, dict[str, str]] = (0, {})
        self.reason: str | None = None
        self.news: list[str] = []

    def update(self, done: int, facts: dict[str, str]) -> None:
        self.state = (done, facts)

    def read(self) -> tuple[int, dict[str, str]]:
        return self.state

    def tell(self, text: str) -> None:
        """What the user should look at; the run goes on."""
        self.news.append(text)

    def told(self) -> list[str]:
        """What has been told since this was last asked."""
        news, self.news = self.news, []
        return news

    def stop(self, reason: str) -> None:
        """No group is to start again; the first reason is told."""
        self.reason = self.reason or reason

    def stopped(self) -> str | None:
        return self.reason


@contextmanager
def shown_progress(samples: int) -> Iterator[Any]:
    """A board for the workers of a run of so many samples, displayed until the block ends."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = ProgressBoard.options(scheduling_strategy=here).remote()
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
    (done, facts), news = ray.get([board.read.remote(), board.told.remote()])
    for text in news:
        warn(text)
    if done:
        progress.update(done, **facts)
