"""Servers as child processes: own session, tied to the parent's life, ready within a deadline, stopped for certain."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

STOP_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""
GRACE_SECONDS = 2.0
"""For processes that were not asked, but have lost their parent."""

_LISTENING = "0A"


class StartFailed(Exception):
    """A server that ended or stayed silent while starting; the text names its log."""


class Child:
    """A running program, in a session of its own. It and all it starts die with the thread that started it, whatever
    ends that thread (Linux's PR_SET_PDEATHSIG): start it from the main thread."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Starts `command` with exactly `environment`; stdout and stderr are appended to `log`."""
        self.name = log.stem
        self.log = log
        self._stopped = False
        guard = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), str(os.getpid())]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(environment),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Returns when `ready()` is true. Raises StartFailed where the child ends first or the deadline passes."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise StartFailed(f"{self.name} ended ({self.process.returncode}) while starting: {self._last_line()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready within {seconds:.0f} s: {self._last_line()}")
            time.sleep(0.1)

    def owns(self, port: int) -> bool:
        """Whether a process of this child's session listens on the TCP port, and not somebody else's server."""
        sockets = _listening_sockets(port)
        return any(sockets & _open_sockets(pid) for pid in session_members(self.pid))

    def stop(self) -> None:
        """SIGTERM to the whole session, SIGKILL after STOP_SECONDS; returns when all are gone. A second call does
        nothing: by then the pid may be another process's."""
        if self._stopped:
            return
        self._stopped = True
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.signal(signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + STOP_SECONDS
        while session_members(self.pid) and time.monotonic() < deadline:
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        """Sends a signal to every process of the session's group."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1][:300] if lines else 'no output'} (log: {self.log})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_ports(count: int) -> list[int]:
    """Different TCP ports that are free on the loopback now; another process may take one, so check with `owns`."""
    holders = [socket.socket() for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def session_members(session: int) -> list[int]:
    """Pids of the running processes in a session."""
    return [pid for pid in _pids() if _session(pid) == session and not ended(pid)]


def below(pid: int) -> list[psutil.Process]:
    """The process's children, theirs and so on; none where it has ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def end(processes: list[psutil.Process]) -> None:
    """Returns when all have ended: by themselves within GRACE_SECONDS, or killed."""
    _, left = psutil.wait_procs(processes, GRACE_SECONDS)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, STOP_SECONDS)


def program(name: str) -> str | None:
    """Path of a program beside this Python, else on PATH."""
    places = [Path(sys.executable).parent, *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    return next((str(place / name) for place in places if os.access(place / name, os.X_OK)), None)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def ended(pid: int) -> bool:
    """Whether only the exit code of the process is left (state Z)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _listening_sockets(port: int) -> set[str]:
    """Inodes of the sockets that listen on a TCP port, as in /proc/net/tcp (proc(5))."""
    rows = [line.split() for table in ("tcp", "tcp6") for line in _lines(f"/proc/net/{table}")]
    return {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}


def _open_sockets(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    try:
        targets = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return set()
    return {target[len("socket:[") : -1] for target in targets if target.startswith("socket:[")}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()[1:]
    except FileNotFoundError:  # no IPv6
        return []
