"""Runs one command and kills it, with all it started, when the parent dies. A script of its own, on the stdlib alone.

    python -I -S guard.py PARENT_PID COMMAND...

The kernel's parent-death signal reaches direct children alone; a server's own workers would live on. This process leads
their session, gets the signal and passes SIGKILL to everyone in its process group.
"""

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def _kill_all(number: int, frame: object) -> None:
    os.killpg(0, signal.SIGKILL)


def main(parent: int, command: list[str]) -> int:
    """Exit code of the command, 128 + the signal where one ended it."""
    signal.signal(signal.SIGUSR1, _kill_all)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop is meant for the command; this process ends with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != parent:  # it died before the tie held
        return 1
    code = subprocess.Popen(command, preexec_fn=_default_signals).wait()
    return code if code >= 0 else 128 - code


def _default_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
