"""Which moments are tried: `--kills` of them, drawn by `--seed`, within `--minutes`; a run that was cut goes on.

Every moment is a test. Those that passed are kept in `.xmodal/chaos.json` until all have, as long as the code is the
same; the summary says how many of how many that is.
"""

import hashlib
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.storage import open_store
from tests.chaos import stories
from tests.chaos.killing import PHASES, Killing, Ordinal
from tests.chaos.world import Kill, Victims, World
from tests.conftest import REPOSITORY

PROGRESS = REPOSITORY / ".xmodal/chaos.json"
SOURCES = ("infra", "pipelines", "xmodal", "tests/chaos", "tests/pipelines")
PARTS = ("/pixels/", "/records/", "/features/", "/ledger/")
"""Only these can be large enough for an upload in parts."""
BY_WORKERS = ("/pixels/", "/records/", "/features/")
WHO = ("driver", "worker")
READS = (5, 20, 35, 50)
"""Of the images of the first version, in the middle of items."""
_KEPT = pytest.StashKey["Chaos"]()


class Chaos:
    """What a session tries, has tried before, and how long it may take."""

    def __init__(self, config: pytest.Config) -> None:
        self.kills, self.seed = config.getoption("kills", default=None), config.getoption("seed", default=0)
        self.end = time.monotonic() + 60 * float(str(config.getoption("minutes", default="inf")))
        self.planned: list[str] = []
        self.left_out = 0
        code = hashlib.sha256(b"".join(path.read_bytes() for top in SOURCES for path in _files(top))).hexdigest()
        same = {"code": code, "kills": self.kills, "seed": self.seed}
        found = json.loads(PROGRESS.read_text()) if PROGRESS.exists() else {}
        self.kept: dict[str, Any] = found if found.items() >= same.items() else same | {"passed": []}
        if "operations" not in self.kept:
            operations = found.get("operations") if found.get("code") == code else None
            self.kept["operations"] = operations or _operations()
            self.save()

    @property
    def passed(self) -> list[str]:
        return self.kept["passed"]

    def save(self) -> None:
        PROGRESS.parent.mkdir(exist_ok=True)
        PROGRESS.write_text(json.dumps(self.kept))

    def told(self) -> str:
        done = len(set(self.planned) & set(self.passed))
        rest = f"; time is over, {self.left_out} are left: run it again to go on" if self.left_out else ""
        return f"chaos: {done} of {len(self.planned)} moments survived (seed {self.seed}){rest}"


def _files(top: str) -> list[Path]:
    return sorted((REPOSITORY / top).rglob("*.py"))


def _operations() -> dict[str, list[tuple[str, str]]]:
    """Durable operations of the stories in their order, told once over directories: (method, key)."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        stories.write_archives(open_store(f"{folder}/archives"))
        for story in stories.LAST:
            fuse = Ordinal()
            root: Any = Killing(open_store(f"{folder}/root"), fuse)
            stories.tell(story, f"{folder}/archives", root)
            found[story] = fuse.operations
    return found


def _kills(operations: dict[str, list[tuple[str, str]]]) -> Iterator[Kill]:
    """Every moment of every story, on both kinds of store, of drivers and of Ray workers."""
    for story, done in operations.items():
        for number, (method, key) in enumerate(done):
            large = method == "put" and "/datasets/" in key and any(folder in key for folder in PARTS)
            phases = [phase for phase in PHASES[method] if phase != "unfinished"]
            yield from (Kill(where, story, number, phase) for phase in phases for where in ("s3", "local"))
            yield from [Kill("s3", story, number, "unfinished")] if large else []
            if story == "first" and any(folder in key for folder in BY_WORKERS) and method == "put":
                yield from (Kill("ray", story, number, when, who) for when in ("before", "after") for who in WHO)
    yield from (Kill("s3", "first", number, "read") for number in READS)
    yield from (Kill("ray", "first", number, "read", who) for number in READS for who in WHO)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--kills", type=int, help="Moments to try; all of them without it.")
    group.addoption("--seed", type=int, default=0, help="Draws which moments, and their order.")
    group.addoption("--minutes", type=float, default=float("inf"), help="Begin no moment after so many.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kill" in metafunc.fixturenames:
        kills: list[Kill] = []
        if metafunc.config.getoption("markexpr") == "chaos":
            if _KEPT not in metafunc.config.stash:
                metafunc.config.stash[_KEPT] = Chaos(metafunc.config)
            kills = list(_kills(metafunc.config.stash[_KEPT].kept["operations"]))
        metafunc.parametrize("kill", kills, ids=str)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Draws, and leaves out what passed before."""
    if _KEPT not in config.stash:
        return
    chaos = config.stash[_KEPT]
    drawn = [item for item in items if item.get_closest_marker("chaos")]
    random.Random(chaos.seed).shuffle(drawn)
    drawn = drawn[: chaos.kills]
    chaos.planned = [item.nodeid for item in drawn]
    items[:] = [item for item in drawn if item.nodeid not in chaos.passed]


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Takes an item away once time is over."""
    chaos = item.config.stash.get(_KEPT, None)
    if chaos is None or time.monotonic() < chaos.end:
        return None
    chaos.left_out += 1
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    chaos = item.config.stash.get(_KEPT, None)
    if chaos is not None and report.when == "call" and report.passed:
        chaos.passed.append(item.nodeid)
        chaos.save()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    chaos = config.stash.get(_KEPT, None)
    if chaos is not None:
        terminalreporter.write_line(chaos.told())
        if set(chaos.planned) <= set(chaos.passed):
            PROGRESS.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    with Victims(tmp_path_factory.mktemp("victims") / "log") as found:
        yield found


@pytest.fixture(scope="session")
def local_world(victims: Victims, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(victims, str(tmp_path_factory.mktemp("local")), {})


@pytest.fixture(scope="session")
def s3_world(victims: Victims, s3) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        yield World(victims, "s3://xmodal-tests/chaos", s3.environment())


@pytest.fixture(scope="session")
def ray_world(s3_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The same, with a Ray cluster of its own."""
    from infra.cluster import local_ray

    victims, environment = s3_world.victims, s3_world.environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", victims.token)
        seen = environment | {"PYTHONPATH": str(REPOSITORY)}
        with local_ray(2, tmp_path_factory.mktemp("ray"), environment=seen) as address:
            yield World(victims, s3_world.url, environment, address, s3_world)
