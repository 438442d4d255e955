"""The local cluster: enough logical CPUs, a token of its own, the environment in the workers, HOME untouched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from infra.cluster import ClusterTooSmall, connect, local_ray
from infra.process import free_ports
from infra.storage import Unreachable, open_store

pytestmark = pytest.mark.ray


def test_cpus_cover_workers_and_readers(ray_cluster):
    assert ray.cluster_resources()["CPU"] >= 2 + 2


def test_a_running_cluster_is_used_and_left_running(ray_cluster, tmp_path):
    with local_ray(2, tmp_path) as address:
        assert address == ray_cluster
    assert ray.is_initialized()


def test_too_many_workers_are_refused_in_one_line(ray_cluster, tmp_path):
    cpus = int(ray.cluster_resources()["CPU"])
    message = f"hold {cpus} CPUs .* has {cpus}; lower compute.workers"
    with pytest.raises(ClusterTooSmall, match=message), local_ray(cpus, tmp_path):
        raise AssertionError("the block must not run")


def test_more_gpus_than_there_are_are_refused_in_one_line(ray_cluster, tmp_path):
    there = int(ray.cluster_resources().get("GPU", 0))
    message = f"hold {there + 1} GPUs, but the Ray cluster has {there}; .* compute.gpu=false"
    with pytest.raises(ClusterTooSmall, match=message), local_ray(1, tmp_path, gpus=there + 1):
        raise AssertionError("the block must not run")


def test_workers_have_the_environment_and_reach_the_bucket(ray_cluster, bucket_url):
    open_store(bucket_url).put("a", b"1")
    store = open_store(bucket_url)

    @ray.remote
    def look() -> tuple[bytes, str, str, str]:
        settings = (os.environ["RAY_CHDIR_TO_TRIAL_DIR"], os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"])
        return store.read("a"), *settings

    data, change_directory, mode, token = ray.get(look.remote())
    assert (data, change_directory, mode) == (b"1", "0", "token")
    assert len(token) == 64


def test_home_is_not_written(ray_cluster):
    assert not (Path.home() / ".ray").exists()


def test_an_address_without_ray_fails_at_once():
    (port,) = free_ports(1)
    message = rf"Ray at 127.0.0.1:{port}: .*check compute.ray_address"
    with pytest.raises(Unreachable, match=message), connect(f"127.0.0.1:{port}", 2):
        raise AssertionError("the block must not run")


JOIN = """
import sys
from infra.cluster import connect

with connect(sys.argv[1], 99, grows=sys.argv[2] == "grows"):
    print("joined")
"""


@pytest.mark.parametrize(("how", "said"), [("stays", "take compute.autoscaled=true"), ("grows", "joined")])
def test_a_cluster_that_grows_may_be_too_small_at_first(ray_cluster: str, how: str, said: str) -> None:
    command = [sys.executable, "-c", JOIN, ray_cluster, how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert said in ended.stdout + ended.stderr and (ended.returncode == 0) == (how == "grows")


BUSY = """
import sys
import ray
from infra.cluster import local_ray

tries = []
start, slow = ray.init, Exception("The current node timed out during startup. This could happen because ...")


def busy(**options):
    tries.append(options)
    if len(tries) <= int(sys.argv[1]):
        raise slow if sys.argv[2] == "slow" else ValueError("object_store_memory is too small")
    return start(**options)


ray.init = busy
try:
    with local_ray(1, sys.argv[3]):
        print("up after", len(tries))
except Exception as error:
    print(type(error).__name__, len(tries), error)
"""


@pytest.mark.parametrize(
    ("failures", "how", "said"),
    [
        (1, "slow", "up after 2"),
        (9, "slow", "Unreachable 2 Ray did not start on this machine"),
        (9, "other", "ValueError 1 "),
    ],
)
def test_a_start_that_takes_too_long_is_tried_once_more(failures: int, how: str, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(failures), how, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.startswith(said), ended.stdout + ended.stderr


HANGS = """
import atexit, os, sys, time
import ray
from infra.cluster import local_ray

@ray.remote
class Hangs:
    def __init__(self):
        atexit.register(time.sleep, 600)

    def pid(self):
        return os.getpid()

with local_ray(1, sys.argv[1]):
    actor = Hangs.remote()
    pid = ray.get(actor.pid.remote())
    del actor
    time.sleep(1)
os.kill(pid, 0)
"""


def test_an_actor_that_hangs_as_it_ends_does_not_outlive_the_cluster(tmp_path: Path) -> None:
    """Ray has let go of it by then."""
    command = [sys.executable, "-c", HANGS, str(tmp_path / "ray")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.stderr.splitlines()[-1] == "ProcessLookupError: [Errno 3] No such process"
