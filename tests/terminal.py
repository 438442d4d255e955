"""A program as it runs at a terminal: Ctrl-C reaches its whole foreground group, and its progress is live."""

import fcntl
import os
import pty
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CTRL_C = b"\x03"


class AtTerminal:
    """`with AtTerminal(command, cwd=...) as program:`; stdin and stderr are a pseudo-terminal, stdout is a file."""

    def __init__(self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], out: Path) -> None:
        self.out = out
        self._master, slave = pty.openpty()
        with out.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(environment),
                stdin=slave,
                stdout=file,
                stderr=slave,
                start_new_session=True,
                preexec_fn=_take_terminal,
            )
        os.close(slave)
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the last holder of the other end is gone
                return
            if not data:
                return
            self._seen += data

    @property
    def screen(self) -> str:
        """What was written to the terminal so far."""
        return bytes(self._seen).decode(errors="replace").replace("\r\n", "\n")

    @property
    def written(self) -> str:
        """What was written to stdout so far."""
        return self.out.read_text()

    def until(self, seen: Callable[[], bool], seconds: float) -> None:
        """Returns when `seen()` is true; fails where the program ends first or the deadline passes."""
        deadline = time.monotonic() + seconds
        while not seen():
            ended = self.process.poll()
            assert ended is None or seen(), f"ended with {ended}: {self.written}{self.screen}"
            assert time.monotonic() < deadline, self.written + self.screen
            time.sleep(0.05)

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def wait(self, seconds: float) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(5)
        os.close(self._master)


def _take_terminal() -> None:
    """In the child: stdin becomes the terminal that controls the session; Ctrl-C works whatever the parent ignored."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
