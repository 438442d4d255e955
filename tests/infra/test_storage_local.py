"""What only a directory has: half-written files, hidden files, names that are not UTF-8, paths that lead out."""

import os
import signal
import subprocess
import sys
import time

import pytest

from infra.storage import Denied, NotFound, open_store

WRITER = """
import sys
from infra.storage import open_store
store, number = open_store(sys.argv[1]), 0
while True:
    store.put("one/part", bytes([number % 256]) * 3_000_000)
    store.create(f"many/{number:06d}", bytes([number % 256]) * 300_000)
    print(number, flush=True)
    number += 1
"""


def test_kill_in_the_middle_of_writes_leaves_whole_objects_only(tmp_path):
    for delay in (0.0, 0.003, 0.011, 0.02, 0.037):
        root = tmp_path / str(delay)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None and writer.stdout.readline() == "0\n"
        end = time.monotonic() + delay
        while time.monotonic() < end:
            pass
        writer.send_signal(signal.SIGKILL)
        acknowledged = [0, *map(int, writer.communicate()[0].split())]
        store = open_store(str(root))
        for entry in store.list():
            data = store.read(entry.key)
            assert len(data) in (3_000_000, 300_000) and len(set(data)) == 1
        assert {f"many/{number:06d}" for number in acknowledged} <= {entry.key for entry in store.list()}


def test_keys_cannot_leave_the_root(tmp_path):
    (tmp_path / "secret").write_text("x")
    store = open_store(str(tmp_path / "root"))
    for key in ("../secret", "a/../../secret", "/etc/passwd", "a\0b"):
        with pytest.raises(NotFound, match="not a key of"):
            store.read(key)


def test_names_that_are_not_utf8_are_escaped_and_readable(tmp_path):
    (tmp_path / "plain%FF.jpg").write_bytes(b"literal")
    with open(os.fsencode(tmp_path) + b"/bad\xff.jpg", "wb") as file:
        file.write(b"bytes")
    store = open_store(str(tmp_path))
    assert [entry.key for entry in store.list()] == ["bad%FF.jpg", "plain%FF.jpg"]
    assert store.read("bad%FF.jpg") == b"bytes" and store.read("plain%FF.jpg") == b"literal"


def test_own_files_pipes_and_dangling_links_are_not_listed(tmp_path):
    store = open_store(str(tmp_path))
    store.replace("doc", b"2", store.create("doc", b"1"))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert (tmp_path / ".xmodal-lock").exists()
    assert [entry.key for entry in store.list()] == ["doc"]


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises((Denied, NotFound), match="file/below"):
        open_store(str(tmp_path)).put("file/below", b"x")


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("some/dir").url == f"{tmp_path}/some/dir"
    assert open_store("file:///some/dir").url == "/some/dir"
    for wrong in ("", "gs://bucket/x", "s3://", "s3:///x", "http://host/x"):
        with pytest.raises(NotFound, match="not a storage address"):
            open_store(wrong)


def test_temporary_files_of_killed_writers_are_leftovers_and_locks_are_not(tmp_path):
    store = open_store(str(tmp_path))
    store.replace("a/doc", b"2", store.create("a/doc", b"1"))
    (tmp_path / "a/.xmodal-0123.tmp").write_bytes(b"half")
    (left,) = store.leftovers()
    assert (left.key, left.size) == ("a/.xmodal-0123.tmp", 4)
    store.clear(left)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".xmodal-lock", "doc"]
