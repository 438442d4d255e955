"""One contract, two stores: every assertion here holds for a directory and for a real S3 server."""

import os
import pickle
import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from infra.storage import AlreadyExists, Conflict, NotFound, Store, open_store
from infra.storage.contract import HIDDEN, PROBE
from infra.storage.files import StoreFiles


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path) -> Store:
    return open_store(str(tmp_path / "root") if request.param == "local" else request.getfixturevalue("bucket_url"))


def test_put_read_head(store):
    before = datetime.now(UTC) - timedelta(seconds=2)
    etag = store.put("a/b.bin", b"hello")
    entry = store.head("a/b.bin")
    assert store.read("a/b.bin") == b"hello"
    assert (entry.key, entry.size, entry.etag) == ("a/b.bin", 5, etag)
    assert before < entry.modified < datetime.now(UTC) + timedelta(seconds=2)
    assert list(store.list()) == [entry]


def test_overwriting_changes_the_etag(store):
    first = store.put("k", b"one")
    second = store.put("k", b"two")
    assert first != second and store.read("k") == b"two"


def test_copies_have_one_etag_where_a_store_says_so(store):
    assert (store.put("a", b"one") == store.put("b", b"one")) == store.etags_of_content
    assert store.put("c", b"two") != store.head("a").etag


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 3, b"012"), (7, 3, b"789"), (8, 5, b"89"), (10, 1, b""), (99, 5, b""), (4, 0, b"")],
)
def test_read_range(store, start, length, expected):
    store.put("digits", b"0123456789")
    assert store.read_range("digits", start, length) == expected


def test_open_gives_a_seekable_file(store):
    data = bytes(range(256)) * 40_000
    store.put("big", data)
    with store.open("big") as file:
        assert file.seekable() and file.read(4) == data[:4]
        assert file.seek(-5, 2) == len(data) - 5 and file.read() == data[-5:]
        file.seek(5_000_000)
        assert file.read(1000) == data[5_000_000:5_001_000]


def test_list_is_sorted_by_key_recursive_and_bounded_by_folders(store):
    keys = ["a-b", "a/b-c", "a/b/c", "a/b.c", "a.b", "ab/x", "z"]
    for key in keys:
        store.put(key, key.encode())
    assert [entry.key for entry in store.list()] == sorted(keys)
    assert [entry.key for entry in store.list("a")] == ["a/b-c", "a/b.c", "a/b/c"]
    assert [entry.key for entry in store.list("ab/")] == ["ab/x"]
    assert list(store.list("nowhere")) == []


NAMES = ["with space.jpg", "ü/ß.jpg", "per%20cent", "a#b", "a?b", "a*b", "a+b&c=d", "[x]{y}", "til~de", "q'\"", "日本"]


def test_odd_names_survive(store):
    for name in NAMES:
        store.put(f"odd/{name}", name.encode())
    assert [entry.key for entry in store.list("odd")] == sorted(f"odd/{name}" for name in NAMES)
    assert all(store.read(f"odd/{name}") == name.encode() for name in NAMES)
    with store.open(f"odd/{NAMES[2]}") as file:
        assert file.read() == NAMES[2].encode()


def test_missing_objects(store):
    for call in (store.read, store.open, lambda key: store.read_range(key, 0, 1)):
        with pytest.raises(NotFound, match=r"not/there: no such") as caught:
            call("not/there")
        assert isinstance(caught.value, FileNotFoundError) and "\n" not in str(caught.value)
    assert store.head("not/there") is None
    store.delete(["not/there"])


def test_create_and_replace(store):
    first = store.create("doc", b"1")
    with pytest.raises(AlreadyExists, match="doc: exists already"):
        store.create("doc", b"other")
    second = store.replace("doc", b"2", first)
    with pytest.raises(Conflict, match="doc: was changed"):
        store.replace("doc", b"3", first)
    with pytest.raises(Conflict):
        store.replace("absent", b"3", first)
    assert store.head("doc").etag == second and store.read("doc") == b"2"
    assert store.head("absent") is None


def test_delete(store):
    for number in range(5):
        store.put(f"d/{number}", b"x")
    store.delete(f"d/{number}" for number in range(4))
    assert [entry.key for entry in store.list()] == ["d/4"]


def test_child_is_a_folder(store):
    store.put("a/b/c", b"1")
    child = store.child("a").child("b/")
    assert child.url == f"{store.url}/a/b"
    assert child.read("c") == b"1" and [entry.key for entry in child.list()] == ["c"]


def test_probe_accepts_the_store_and_leaves_nothing(store):
    store.probe()
    assert list(store.list()) == []


def test_the_stores_own_time_is_that_of_its_stamps(store):
    written = store.head("k").modified if store.put("k", b"1") else None
    assert written is not None and written <= store.now() <= written + timedelta(seconds=60)
    assert [entry.key for entry in store.list()] == ["k"] and list(store.leftovers()) == []


def test_what_a_killed_probe_left_is_found_and_cleared(store):
    for key in (f"a/b/{PROBE}1", f"a/{PROBE}2", f"c/{PROBE}3", "a/part", f"a/{HIDDEN}other"):
        store.put(key, b"1")
    assert [entry.key for entry in store.list()] == ["a/part"]
    left = list(store.leftovers("a"))
    assert {entry.key for entry in left} == {f"a/b/{PROBE}1", f"a/{PROBE}2"}
    assert {entry.key for entry in store.child("a").leftovers()} == {f"b/{PROBE}1", f"{PROBE}2"}
    for entry in [*left, left[0]]:
        store.clear(entry)
    assert [entry.key for entry in store.leftovers()] == [f"c/{PROBE}3"]
    assert store.read(f"a/{HIDDEN}other") == b"1"


def test_pickled_store_works_and_holds_no_key(store, monkeypatch):
    store.put("k", b"1")
    data = pickle.dumps(store)
    assert pickle.loads(data) == store and pickle.loads(data).read("k") == b"1"
    assert os.environ.get("AWS_SECRET_ACCESS_KEY", "no secret").encode() not in data


def test_filesystem_leads_to_the_same_files(store):
    system, path = store.filesystem()
    table = pa.table({"x": [1, 2, 3]})
    store.put("other", b"")  # pyarrow itself does not make the directory
    pq.write_table(table, f"{path}/part.parquet", filesystem=system)
    assert store.read("part.parquet")[:4] == b"PAR1"
    assert pq.read_table(f"{path}/part.parquet", filesystem=system).equals(table)


def test_a_store_is_a_file_system_for_ray(store):
    files = pickle.loads(pickle.dumps(pafs.PyFileSystem(StoreFiles(store, 1.0))))
    assert files == pafs.PyFileSystem(StoreFiles(store, 1.0)) != pafs.PyFileSystem(StoreFiles(store.child("a"), 1.0))
    kinds = [pafs.FileType.NotFound, pafs.FileType.Directory, pafs.FileType.File]
    paths = ["runs/absent", "runs/a", "runs/a/file"]
    with files.open_output_stream("runs/a/file") as file:
        file.write(b"12")
        assert store.head("runs/a/file") is None, "in one step, at the end"
        file.write(b"3")
    store.put("runs/ab/file", b"other")
    assert [files.get_file_info(path).type for path in paths] == kinds
    with files.open_input_stream("runs/a/file") as file:
        assert file.read() == store.read("runs/a/file") == b"123"
    with files.open_input_file("runs/a/file") as file:
        assert file.size() == 3 and file.read_at(2, 1) == b"23"
    below = files.get_file_info(pafs.FileSelector("runs", recursive=True))
    assert [(one.path, one.is_file) for one in below] == [
        ("runs/a", False), ("runs/a/file", True), ("runs/ab", False), ("runs/ab/file", True)
    ]  # fmt: skip
    assert [one.path for one in files.get_file_info(pafs.FileSelector("runs"))] == ["runs/a", "runs/ab"]
    assert files.get_file_info(pafs.FileSelector("absent", allow_not_found=True)) == []
    files.delete_dir("runs/a")
    files.delete_dir("runs/absent")
    assert [entry.key for entry in store.list()] == ["runs/ab/file"]
    with pytest.raises(NotFound):
        files.open_input_stream("runs/a/file")


def test_directory_markers_are_not_listed(store):
    system, path = store.filesystem()
    store.put("dir/file", b"1")
    system.create_dir(f"{path}/dir/empty", recursive=True)
    assert [entry.key for entry in store.list()] == ["dir/file"]


def race(count: int, attempt) -> int:
    """How many of `count` threads that start `attempt` together succeed."""
    barrier, wins = threading.Barrier(count), []

    def run(number: int) -> None:
        barrier.wait()
        try:
            attempt(number)
        except (AlreadyExists, Conflict):
            return
        wins.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(wins)


def test_of_racing_creators_one_wins(store):
    for round_number in range(4):
        key = f"race/{round_number}"
        assert race(8, lambda number, key=key: store.create(key, b"%d" % number)) == 1


def test_of_racing_replacers_one_wins(store):
    etag = store.create("race", b"start")
    for round_number in range(4):
        data = b"%d-" % round_number
        assert race(8, lambda number, old=etag, data=data: store.replace("race", data + b"%d" % number, old)) == 1
        etag = store.head("race").etag
