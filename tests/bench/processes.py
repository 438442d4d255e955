"""CPU seconds of this process and of all processes below it, also of those that end in between.

A child that this process waits for leaves its times to it. Deeper ones may not: Ray's raylet ignores SIGCHLD, so the
kernel forgets what its workers used. They are looked at every half second, and the last look is kept.
"""

import resource
import threading
from typing import Self

import psutil

LOOK_SECONDS = 0.5
"""At most this much of a deeper process's time is lost when it ends."""


class Meter:
    """Readings between enter and exit can be subtracted; a background thread looks after processes that end."""

    def __init__(self) -> None:
        self._me = psutil.Process()
        self._deeper: dict[tuple[int, float], float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._watcher.join()

    def seconds(self) -> float:
        """User and system time so far of this process, its children (waited for or alive) and all below them."""
        with self._lock:
            waited = _usage(resource.RUSAGE_CHILDREN)
            children = sum(self._look(process) for process in self._me.children(recursive=True))
            return own_seconds() + waited + children + sum(self._deeper.values())

    def _look(self, process: psutil.Process) -> float:
        """A direct child's time; a deeper process's is kept beside. What ended just now was waited for or kept."""
        try:
            times, direct = process.cpu_times(), process.ppid() == self._me.pid
        except psutil.NoSuchProcess:
            return 0.0
        used = times.user + times.system
        if direct:
            return used
        self._deeper[process.pid, process.create_time()] = used
        return 0.0

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.seconds()


def own_seconds() -> float:
    """User and system time of this process alone."""
    return _usage(resource.RUSAGE_SELF)


def running(names: tuple[str, ...]) -> list[str]:
    """Titles of the processes below this one that contain one of `names`."""
    titles = [_title(process) for process in psutil.Process().children(recursive=True)]
    return [title for title in titles if any(name in title for name in names)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _usage(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
