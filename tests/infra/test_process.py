"""Children: ready or a clear line, stopped for certain, and never left behind by a parent that is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.process import Child, StartFailed, free_ports, session_members

PARENT = """
import sys, time, os
from pathlib import Path
from infra.process import Child
script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
child = Child([sys.executable, "-c", script], Path(sys.argv[1]), os.environ)
print(child.pid, flush=True)
time.sleep(600)
"""


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.01)


def python(log: Path, script: str, *arguments: str) -> Child:
    return Child([sys.executable, "-c", script, *arguments], log, os.environ)


def test_a_killed_parent_leaves_neither_child_nor_grandchild(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    session = int(parent.stdout.readline())
    until(lambda: len(session_members(session)) == 3)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not session_members(session))


def test_stop_ends_a_child_that_ignores_sigterm(tmp_path, monkeypatch):
    monkeypatch.setattr("infra.process.STOP_SECONDS", 0.5)
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    child = python(tmp_path / "log", f"{ignore}; print('up', flush=True); time.sleep(600)")
    child.wait_until(lambda: b"up" in (tmp_path / "log").read_bytes(), 20)
    child.stop()
    assert not session_members(child.pid)
    child.stop()


def test_a_child_that_ends_while_starting_says_why(tmp_path):
    message = r"server ended \(1\) while starting: port 80 is taken \(log: .*server.log"
    with python(tmp_path / "server.log", "raise SystemExit('port 80 is taken')") as child:  # noqa: SIM117
        with pytest.raises(StartFailed, match=message):
            child.wait_until(lambda: False, 20)


def test_a_child_that_never_gets_ready_is_given_up(tmp_path):
    with python(tmp_path / "server.log", "import time; time.sleep(600)") as child:  # noqa: SIM117
        with pytest.raises(StartFailed, match="not ready within 0 s"):
            child.wait_until(lambda: False, 0.1)


def test_owns_tells_our_listener_from_anothers(tmp_path):
    (port,) = free_ports(1)
    script = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    with python(tmp_path / "log", script, str(port)) as child, socket.create_server(("127.0.0.1", 0)) as other:
        child.wait_until(lambda: child.owns(port), 20)
        assert not child.owns(other.getsockname()[1])
    assert not child.owns(port)


def test_free_ports_differ():
    assert len(set(free_ports(20))) == 20
