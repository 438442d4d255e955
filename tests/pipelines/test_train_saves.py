"""Checkpoints, and a store or a disk that fails them: waited for, then told; what was saved before is gone on from."""

import json
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.session import Session

from infra.seaweed import REGION, SeaweedServer
from infra.storage import Store, open_store
from pipelines.train.runs import Run, resumable, sweep
from pipelines.train.saves import Saves, local
from tests.conftest import BUCKET
from tests.pipelines.road import contents, prepared, trained_run, untrained_run, write_recipe, xmodal
from tests.wire import Wire

pytestmark = [pytest.mark.ray, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = 12
TRAIN: dict[str, Any] = {"epochs": 6, "checkpoint_every": 3}


class Server(SeaweedServer):
    """One whose keys for training may be refused what its own may do."""

    def __init__(self, directory: Path, keys: dict[str, str]) -> None:
        super().__init__(directory, [BUCKET])
        self.keys = keys

    def identities(self) -> list[dict[str, Any]]:
        credentials = [{"accessKey": self.keys["AWS_ACCESS_KEY_ID"], "secretKey": self.keys["AWS_SECRET_ACCESS_KEY"]}]
        actions = [f"{action}:{BUCKET}" for action in ("Read", "Write", "List")]
        return [*super().identities(), {"name": "trainer", "credentials": credentials, "actions": actions}]

    def refuse(self, prefix: str) -> None:
        """Nobody writes below `prefix` of the bucket any more."""
        resource = f"arn:aws:s3:::{BUCKET}/{prefix}/*"
        denied = {"Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject"], "Resource": [resource]}
        policy = {"Version": "2012-10-17", "Statement": [denied]}
        self._client().put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    def allow(self) -> None:
        self._client().delete_bucket_policy(Bucket=BUCKET)


@pytest.fixture(scope="module")
def server(s3, ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of our own; its keys for training are those that the Ray cluster has."""
    keys = s3.environment()
    with Server(tmp_path_factory.mktemp("server"), keys) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in (keys | {"AWS_ENDPOINT_URL": server.endpoint}).items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def root(server: Server) -> Store:
    """The tiny dataset below a prefix of its own."""
    url = f"s3://{BUCKET}/saves-{os.urandom(4).hex()}"
    prepared(url)
    return open_store(url)


@pytest.fixture
def recipe(root: Store, tmp_path: Path) -> Path:
    compute = {"workers": [1, 2], "max_failures": 0}
    return write_recipe(tmp_path / "tiny.yaml", f"{root.url}/archive", root.url, train=TRAIN, compute=compute)


@contextmanager
def at_steps(root: Store, *events: tuple[int, Callable[[], None]]) -> Iterator[list[float]]:
    """Each action once the run has a checkpoint of its step or later; yields the times at which they were over."""
    ended, done = threading.Event(), []

    def watch() -> None:
        for step, act in events:
            while not ended.wait(0.1) and not any(saved.step >= step for saved in the_run(root).saved()):
                pass
            if not ended.is_set():
                act()
                done.append(time.monotonic())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join()


def the_run(root: Store) -> Run:
    """The one that there is, also before it has a checkpoint."""
    names = {entry.key.split("/")[1] for entry in root.list("runs")}
    return Run(root, names.pop() if names else "none")


def limit_files(size: int) -> None:
    """What a training worker writes to a file beyond `size` bytes is refused by the system from now on."""
    for child in psutil.Process().children(recursive=True):
        if "RayTrainWorker" in " ".join(child.cmdline()):
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.chaos
def test_a_store_that_loses_what_is_sent_and_a_disk_that_is_full_are_waited_for(
    server: Server, root: Store, recipe: Path
) -> None:
    """No worker is started again: none may fail."""

    def full() -> None:
        limit_files(20_000)
        time.sleep(3)
        limit_files(resource.RLIM_INFINITY)

    with Wire(server.endpoint) as wire, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", wire.endpoint)
        lose = partial(wire.cut, f"PUT /{root.url.removeprefix('s3://')}/runs/", "request lost", 12)
        with at_steps(root, (3, lose), (6, full)) as done:
            ended = xmodal("train", recipe)
    assert ended.code == 0, ended.err
    run = Run(root, trained_run(ended))
    assert len(done) == 2 and wire.cuts == 12
    assert run.saved()[0].step == STEPS and resumable(run) == run.saved()[0]
    folders = {entry.key.split("/")[2] for entry in root.list(run.prefix) if entry.key.count("/") == 3}
    assert folders == {saved.directory for saved in run.saved()}


def test_a_store_that_refuses_ends_the_run_in_one_line_and_what_was_saved_is_gone_on_from(
    server: Server, root: Store, recipe: Path
) -> None:
    prefix = root.url.removeprefix(f"s3://{BUCKET}/")
    with at_steps(root, (3, lambda: server.refuse(f"{prefix}/runs"))) as done:
        ended = xmodal("train", recipe, "compute.store_patience=5", "compute.max_failures=3")
    assert ended.code == 1 and done, ended.err
    assert "checkpoint-0000" in ended.line and f"{server.endpoint} refuses (AccessDenied)" in ended.line
    assert "what was saved before stays, and the same command goes on from there" in ended.line
    run = the_run(root)
    kept = resumable(run)
    assert kept is not None and 3 <= kept.step < STEPS
    server.allow()
    torn = f"{run.prefix}/checkpoint-0000000001"
    root.put(f"{torn}/model.safetensors", b"torn")
    root.put(f"{run.prefix}/notes.txt", b"the user's")
    client = Session().create_client("s3", endpoint_url=server.endpoint, region_name=REGION)
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/{torn}/key.safetensors")
    assert len(list(root.leftovers(run.prefix))) == 1
    again = xmodal("train", recipe)
    assert again.code == 0 and run.saved()[0].step == STEPS, again.err
    assert list(root.leftovers(run.prefix)) == []
    folders = {entry.key.split("/")[2] for entry in root.list(run.prefix) if entry.key.count("/") == 3}
    assert folders == {saved.directory for saved in run.saved()} and root.read(f"{run.prefix}/notes.txt")


def test_a_disk_that_stays_full_ends_the_run_in_one_line(root: Store, recipe: Path) -> None:
    with at_steps(root, (3, lambda: limit_files(20_000))) as done:
        ended = xmodal("train", recipe, "compute.store_patience=3")
    assert ended.code == 1 and done, ended.err
    assert "xmodal-save-" in ended.line and "File too large" in ended.line and "what was saved before" in ended.line
    kept = resumable(the_run(root))
    assert kept is not None and 3 <= kept.step < STEPS


def test_a_sweep_leaves_what_the_snapshot_names(tmp_path: Path) -> None:
    run = untrained_run(prepared(str(tmp_path / "root"), tracking={"uri": ""}))
    before = contents(run.store)
    run.store.put(f"{run.prefix}/checkpoint-0000000003/queue.safetensors", b"torn")
    (tmp_path / "root" / run.prefix / ".xmodal-0123.tmp").write_bytes(b"half")
    sweep(run)
    assert contents(run.store) == before and list(run.store.leftovers(run.prefix)) == []
    assert not (tmp_path / "root" / run.prefix / "checkpoint-0000000003").exists()


def test_what_a_killed_worker_left_on_the_disk_goes_when_its_run_goes_on(tmp_path: Path) -> None:
    """The same name below another root is another run."""
    run, other = (untrained_run(prepared(str(tmp_path / root), tracking={"uri": ""})) for root in ("one", "two"))
    assert run.name == other.name

    def save(directory: Path) -> None:
        (directory / "model.safetensors").write_bytes(b"half")

    for one in (run, other):
        Saves(one, 0.0, None).write(save)
    assert len(local(run)) == len(local(other)) == 1
    Saves(run, 0.0, None)
    assert local(run) == [] and len(local(other)) == 1
    Saves(other, 0.0, None)
