"""What only a directory has: half-written files, hidden files, names that are not UTF-8, paths that lead out."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import Denied, NotFound, Store, Unreadable, open_store

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


def test_a_bad_sector_shows_while_an_open_file_is_read(tmp_path):
    """Linux gives EIO for the first bytes of a process's memory."""
    (tmp_path / "bad").symlink_to("/proc/self/mem")
    store = open_store(str(tmp_path))
    for read in (lambda file: file.read(10), lambda file: file.read(), lambda file: file.peek(1)):
        with store.open("bad") as file, pytest.raises(Unreadable, match="bad: Input/output error"):
            read(file)


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


def faults(store: Store) -> dict[str, str | None]:
    return {entry.key: entry.fault for entry in store.stream()}


def test_everything_that_lies_there_is_streamed(tmp_path):
    store = open_store(str(tmp_path))
    store.put("dir/file", b"1")
    (tmp_path / "dir" / "up").symlink_to("..")
    (tmp_path / "dir" / "itself").symlink_to("itself")
    (tmp_path / "there").symlink_to("back")
    (tmp_path / "back").symlink_to("there")
    (tmp_path / "nowhere").symlink_to("gone/away")
    (tmp_path / "through a file").symlink_to("dir/file/below")
    (tmp_path / "again").symlink_to("dir/file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))
    assert faults(store) == {
        "dir/file": None,
        "again": None,
        "dir/up": "link_loop",
        "dir/itself": "link_loop",
        "there": "link_loop",
        "back": "link_loop",
        "nowhere": "dangling_link",
        "through a file": "dangling_link",
        "pipe": "not_regular",
        "device": "not_regular",
        "socket": "not_regular",
    }
    assert [entry.key for entry in store.list()] == ["again", "dir/file"]


def test_two_folders_that_lead_to_each_other_end(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / one).mkdir()
        (tmp_path / one / "to").symlink_to(f"../{other}")
        (tmp_path / one / f"{one}.jpg").write_bytes(b"x")
    found = faults(open_store(str(tmp_path)))
    assert found == {
        "a/a.jpg": None,
        "a/to/b.jpg": None,
        "a/to/to": "link_loop",
        "b/b.jpg": None,
        "b/to/a.jpg": None,
        "b/to/to": "link_loop",
    }


@pytest.fixture
def common_folder() -> Iterator[Path]:
    """A folder whose parents everybody may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """For root no file is unreadable: then the block runs as nobody."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_files_and_folders_without_the_right_to_read_them(common_folder):
    store = open_store(str(common_folder))
    for key in ("open/a", "shut/b", "open/c"):
        store.put(key, b"x")
    os.chmod(common_folder / "open", 0o755)
    os.chmod(common_folder / "open" / "a", 0o644)
    os.chmod(common_folder / "shut", 0)
    os.chmod(common_folder / "open" / "c", 0)
    with somebody_else():
        found = faults(store)
        assert store.read("open/a") == b"x"
        for call in (store.read, store.open, lambda key: store.read_range(key, 0, 1)):
            with pytest.raises(Unreadable, match="open/c: Permission denied"):
                call("open/c")
        with pytest.raises(Denied, match="shut"):
            list(open_store(str(common_folder / "shut")).stream())
    assert found == {"open/a": None, "open/c": "unreadable", "shut/": "unreadable_folder"}
    for path in (common_folder / "shut", common_folder / "open" / "c"):
        os.chmod(path, stat.S_IRWXU)
    assert set(faults(store).values()) == {None}


ODD = [
    "new\nline",
    "tab\t",
    "back\\slash",
    "dot.",
    "...",
    ".hidden",
    " ",
    "a" * 255,
    "%",
    "%41",
    "%FF",
    "%00",
    "?x=1#y",
    "-rf",
]


def test_odd_local_names(tmp_path):
    store = open_store(str(tmp_path))
    for name in ODD:
        store.put(f"x/{name}", name.encode())
    assert [entry.key for entry in store.list()] == sorted(f"x/{name}" for name in ODD)
    assert [store.read(f"x/{name}") for name in ODD] == [name.encode() for name in ODD]


def test_a_key_never_means_the_file_of_another_spelling(tmp_path):
    store = open_store(str(tmp_path))
    store.put("a b", b"blank")
    store.put("a%20b", b"percent")
    assert (store.read("a b"), store.read("a%20b")) == (b"blank", b"percent")
    with pytest.raises(NotFound):
        store.read("a%20%62")


names = st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
spelled = st.lists(
    st.sampled_from([b"\xff", b"%FF", b"%25", b"%00", b"a", b"%", b"\xc3\xa9", b"\xe9"]), min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(names | spelled.map(b"".join), names | spelled.map(b"".join)), max_size=8))
def test_every_local_name_has_a_key_of_its_own_that_reads_it(tmp_path_factory, files):
    folder = os.fsencode(tmp_path_factory.mktemp("names"))
    for parent, name in files:
        os.makedirs(folder + b"/" + parent, exist_ok=True)
        Path(os.fsdecode(folder + b"/" + parent + b"/" + name)).write_bytes(parent + b"/" + name)
    store = open_store(os.fsdecode(folder))
    entries = list(store.stream())
    assert len({entry.key for entry in entries}) == len(entries) == len(files)
    assert {store.read(entry.key) for entry in entries} == {parent + b"/" + name for parent, name in files}
    assert all(entry.key.encode() and store.head(entry.key) == entry for entry in entries)


def test_a_path_too_long_for_the_system_is_an_entry(tmp_path):
    """Made folder by folder, as a network drive can hold it."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    (entry,) = open_store(str(tmp_path)).stream()
    assert entry.fault in ("unreadable", "unreadable_folder") and len(entry.key) > 3000


def peak(store: Store) -> tuple[int, int]:
    """Files streamed, and the most bytes that Python held meanwhile."""
    tracemalloc.start()
    count = sum(1 for _ in store.stream())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return count, most


def test_streaming_holds_no_more_for_eight_times_the_files(tmp_path):
    for count in (1_000, 8_000):
        for number in range(count):
            if number % 1000 == 0:
                (tmp_path / str(count) / str(number)).mkdir(parents=True)
            os.close(os.open(tmp_path / str(count) / str(number // 1000 * 1000) / f"{number}.jpg", os.O_CREAT))
    small, large = (peak(open_store(str(tmp_path / str(count)))) for count in (1_000, 8_000))
    assert (small[0], large[0]) == (1_000, 8_000)
    assert large[1] < small[1] + 100_000
