"""The lease: one holder, takeover from the dead, nothing from the late, a fence that only rises."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from infra.lock import Lock, Locked, Lost, held
from infra.storage import open_store
from tests.wire import Wire

TTL = 1.0
HOLDER = """
import sys, time
from infra.lock import held
from infra.storage import open_store
with held(open_store(sys.argv[1]), "locks/x.json", float(sys.argv[2])) as lock:
    print(lock.fence, flush=True)
    sys.stdin.readline()
    lock.check()
    print("still mine", flush=True)
"""


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.services)])
def store(request, tmp_path):
    return open_store(str(tmp_path / "root") if request.param == "local" else request.getfixturevalue("bucket_url"))


@pytest.fixture
def holder(store):
    """A process that holds the lock; it is asked to end by a line on its stdin."""
    command = [sys.executable, "-c", HOLDER, store.url, str(TTL)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "1\n"
        yield process
        process.kill()


def test_free_again_after_the_block(store):
    for fence in (1, 2, 3):
        with held(store, "locks/x.json", TTL) as lock:
            lock.check()
            assert lock.fence == fence


def test_free_again_after_an_error_in_the_block(store):
    with pytest.raises(KeyError, match="ours"), held(store, "locks/x.json", TTL):
        raise KeyError("ours")
    with held(store, "locks/x.json", 60):
        pass


def test_a_living_holder_keeps_it_beyond_its_ttl(store, holder):
    begun = time.monotonic()
    with pytest.raises(Locked, match=rf"x.json: process {holder.pid} on .* holds the lock") as caught:
        Lock(store, "locks/x.json", TTL).acquire()
    assert time.monotonic() - begun < TTL * 1.25
    assert "\n" not in str(caught.value)
    end = time.monotonic() + 2 * TTL
    while time.monotonic() < end:
        holder.poll()
    assert holder.communicate("\n")[0] == "still mine\n" and holder.returncode == 0


def test_a_killed_holder_is_replaced_after_its_lease(store, holder):
    holder.send_signal(signal.SIGKILL)
    begun = time.monotonic()
    lock = Lock(store, "locks/x.json", TTL)
    lock.acquire()
    assert TTL <= time.monotonic() - begun < 4 * TTL
    assert lock.fence == 2


def test_a_holder_that_slept_past_its_lease_has_lost(store, holder):
    holder.send_signal(signal.SIGSTOP)
    lock = Lock(store, "locks/x.json", 60)
    lock.acquire()
    holder.send_signal(signal.SIGCONT)
    output, errors = holder.communicate("\n")
    assert "still mine" not in output and "Lost" in errors and holder.returncode == 1
    lock.renew()


def test_late_renewals_and_releases_change_nothing(store):
    late = Lock(store, "locks/x.json", 0.1)
    late.acquire()
    with held(store, "locks/x.json", TTL) as lock:
        for act in (late.renew, late.release, late.check):
            with pytest.raises(Lost):
                act()
        lock.check()


def test_a_deleted_lock_is_lost(store):
    lock = Lock(store, "locks/x.json", TTL)
    lock.acquire()
    store.delete(["locks/x.json"])
    with pytest.raises(Lost, match="its object was deleted"):
        lock.renew()


def test_a_write_whose_answer_was_lost_counts(store, monkeypatch):
    """What a lost connection does: the write happens, its answer does not arrive, the repetition is refused."""
    lock = Lock(store, "locks/x.json", TTL)
    create, replace = type(store).create, type(store).replace
    monkeypatch.setattr(type(store), "create", lambda self, *a: (create(self, *a), create(self, *a)))
    lock.acquire()
    monkeypatch.setattr(type(store), "replace", lambda self, *a: (replace(self, *a), replace(self, *a)))
    lock.renew()
    assert lock.fence == 1


def test_racing_contenders_never_overlap_and_fences_rise(store):
    inside, fences, overlaps = threading.Semaphore(1), [], []

    def contend() -> None:
        for _ in range(4):
            try:
                with held(store, "locks/x.json", TTL) as lock:
                    free = inside.acquire(blocking=False)
                    overlaps.extend([] if free else [lock.fence])
                    fences.append(lock.fence)
                    inside.release()
            except Locked:
                continue

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not overlaps and fences and fences == sorted(set(fences))


def test_confirming_asks_the_store_and_not_the_clock(store):
    """A machine that slept may not have counted the time: the lease seems to last, and somebody else holds the lock."""
    with pytest.raises(Lost, match="somebody took over"), held(store, "locks/x.json", 60) as lock:
        document = json.loads(store.read("locks/x.json"))
        store.put("locks/x.json", json.dumps(document | {"owner": "other", "who": "somebody", "fence": 2}).encode())
        lock.check()
        lock.confirm()


@pytest.mark.services
def test_confirming_outlasts_a_short_silence_and_ends_with_the_lease(s3, bucket_url):
    with Wire(s3.endpoint) as wire:
        store = open_store(bucket_url, endpoint=wire.endpoint, patience=0.5)
        lock = Lock(store, "locks/x.json", ttl=4.0)
        lock.acquire()
        wire.cut("locks/x.json", "request lost", 3)
        lock.confirm()
        assert wire.cuts == 3
        wire.cut("locks/x.json", "request lost", 1000)
        with pytest.raises(Lost, match="not renewed in time"):
            lock.confirm()
