"""`python -m tests.pipelines.killed_prepare ARCHIVE ROOT:MOMENT...`: a prepare for each root, killed at a moment.

Moments are counted over durable operations below the root (locks apart): 2n is before operation n, 2n + 1 after it.
Each runs in a forked child, so that the libraries are loaded once; prints the exit status of each.
"""

import os
import signal
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from infra.storage import LocalStore
from pipelines.prepare import flow, items
from tests.pipelines.surveys import IMAGE, IN_PROCESS, TEXT, settings

MOST = 24
"""Files of an item, so that the tiny survey has several."""
LEASE = 0.4
_moments = 0
_fatal = -1


def _moment(key: str) -> None:
    global _moments
    if not key.startswith(("locks/", ".xmodal-")):
        if _moments == _fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        _moments += 1


class Killing(LocalStore):
    """A local store in which the process dies at the fatal moment."""

    def put(self, key: str, data: bytes) -> str:
        _moment(key)
        etag = super().put(key, data)
        _moment(key)
        return etag

    def create(self, key: str, data: bytes) -> str:
        _moment(key)
        etag = super().create(key, data)
        _moment(key)
        return etag

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            _moment(key)
            super().delete([key])
            _moment(key)


def prepare(archive: str, root: str, fatal: int = -1) -> int:
    """Runs prepare to its end, or until the fatal moment; returns the number of moments there were."""
    global _fatal
    _fatal = fatal
    uncut = items.cut
    items.cut = partial(uncut, most=MOST)
    try:
        flow.prepare(settings(archive), Killing(root), IMAGE, TEXT, workers=IN_PROCESS, lease=LEASE)
    finally:
        items.cut = uncut
    return _moments


def _killed(archive: str, root: str, fatal: int) -> int:
    """Exit status of a child that prepares."""
    child = os.fork()
    if child == 0:
        try:
            prepare(archive, root, fatal)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    _archive, *_runs = sys.argv[1:]
    for _run in _runs:
        _root, _, _when = _run.rpartition(":")
        Path(_root).mkdir(parents=True, exist_ok=True)
        print(_killed(_archive, _root, int(_when)), flush=True)
