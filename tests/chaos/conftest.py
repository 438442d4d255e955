"""Which moments are tried: `--kills` of them, drawn by `--seed`, within `--minutes`; a run that was cut goes on.

Every moment is a test. Those that passed are kept in `.xmodal/chaos.json` until all have, as long as the code is the
same; the summary says how many of how many that is, and fewer than `--least` fail the session.

What is stored after an operation of a single process is what is stored before its next one: each state is tried once on
a directory and once on S3. Locks and commits are tried both ways on both.
"""

import hashlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.storage import open_store
from tests.chaos import stories
from tests.chaos.killing import PHASES, Killing, Ordinal
from tests.chaos.moments import Moment, moments
from tests.chaos.retraining import Retraining, Stage, stages
from tests.chaos.training import Training
from tests.chaos.world import Kill, Victims, World
from tests.conftest import BUCKET, REPOSITORY
from tests.pipelines.nodes import Cluster

PROGRESS = ".xmodal/chaos.json"
"""Below pytest's root."""
SOURCES = ("infra", "pipelines", "xmodal", "tests/chaos", "tests/pipelines")
PARTS = ("/pixels/", "/records/", "/features/", "/ledger/")
"""Only these can be large enough for an upload in parts."""
BY_WORKERS = ("/pixels/", "/records/", "/features/")
WHO = ("driver", "worker")
STORES = ("s3", "local")
READS = (5, 20, 35, 50)
"""Of the images of the first version, in the middle of items."""
_KEPT = pytest.StashKey["Chaos"]()


Operations = dict[str, list[tuple[str, str]]]
"""Durable operations of the stories in their order: (method, key)."""


class Chaos:
    """What a session tries, has tried before, and how long it may take."""

    def __init__(self, config: pytest.Config) -> None:
        self.kills, self.seed = config.getoption("kills", default=None), int(str(config.getoption("seed", default=0)))
        self.least = int(str(config.getoption("least", default=0)))
        self.end = time.monotonic() + 60 * float(str(config.getoption("minutes", default="inf")))
        self.planned: list[str] = []
        self.left_out = 0
        self.file = config.rootpath / PROGRESS
        same = {"code": code(), "kills": self.kills, "seed": self.seed}
        found = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.kept: dict[str, Any] = found if found.items() >= same.items() else same | {"passed": []}
        if "operations" not in self.kept:
            operations = found.get("operations") if found.get("code") == same["code"] else None
            self.kept["operations"] = operations or _operations()
            self.save()

    @property
    def passed(self) -> list[str]:
        return self.kept["passed"]

    @property
    def done(self) -> int:
        return len(set(self.planned) & set(self.passed))

    def save(self) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps(self.kept))

    def told(self) -> str:
        rest = f"; time is over, {self.left_out} are left: run it again to go on" if self.left_out else ""
        few = f"; fewer than the {self.least} that are asked for" if self.done < self.least else ""
        return f"chaos: {self.done} of {len(self.planned)} moments survived (seed {self.seed}){rest}{few}"


def code() -> str:
    """Digest of all that a moment may depend on."""
    return hashlib.sha256(b"".join(path.read_bytes() for top in SOURCES for path in _files(top))).hexdigest()


def _files(top: str) -> list[Path]:
    return sorted((REPOSITORY / top).rglob("*.py"))


class Cut(Exception):
    """Ends a story here as a kill does elsewhere."""


def _cut() -> None:
    raise Cut


def _operations() -> Operations:
    """Of the stories, told once over directories."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        stories.write_archives(open_store(f"{folder}/archives"))
        for story in ("first", "next", "left", "gc"):
            fuse = Ordinal(*stories.LEFT_AT, _cut) if story == "left" else Ordinal()
            root: Any = Killing(open_store(f"{folder}/root"), fuse)
            with suppress(Cut):
                stories.tell(story, f"{folder}/archives", root)
            found[story] = fuse.operations
    return {story: found[story] for story in stories.LAST}


def _kills(operations: Operations) -> Iterator[Kill]:
    """Every moment of every story, on both kinds of store, of drivers and of Ray workers."""
    for story, done in operations.items():
        for number, (method, key) in enumerate(done):
            decides = "/locks/" in key or (method in ("create", "replace") and "/versions/" in key)
            yield from _around(story, number, decides, number == len(done) - 1)
            yield from _torn(story, number, method, key)
        yield from _over_ray(story, done) if story != "gc" else ()
    yield from (Kill("s3", "first", number, "read") for number in READS)
    yield from (Kill("ray", "first", number, "read", WHO[place % 2]) for place, number in enumerate(READS))


def _around(story: str, number: int, decides: bool, last: bool) -> Iterator[Kill]:
    """Before and after an operation. Around those that `decide` the next run waits for the lease to end."""
    if decides:
        both = ((where, phase) for where in STORES for phase in ("before", "after"))
        yield from (Kill(*one, waits=True) for one in ((where, story, number, phase) for where, phase in both))
        return
    yield Kill("s3", story, number, "before")
    yield Kill("local", story, number, "after")
    yield from [Kill("local", story, number, "before")] if number == 0 else []
    yield from [Kill("s3", story, number, "after")] if last else []


def _torn(story: str, number: int, method: str, key: str) -> Iterator[Kill]:
    """In the middle of a write."""
    if "torn" in PHASES[method]:
        yield from (Kill(where, story, number, "torn") for where in STORES)
    if method == "put" and "/datasets/" in key and any(folder in key for folder in PARTS):
        yield Kill("s3", story, number, "unfinished")


def _over_ray(story: str, done: list[tuple[str, str]]) -> Iterator[Kill]:
    """Before and after writes of workers: of each kind the parts and receipts of two items, since which item comes when
    is the workers' affair. These and the driver die in turn. In a second version uploads are cut, too."""
    for folder in BY_WORKERS:
        own = [number for number, (method, key) in enumerate(done) if method == "put" and folder in key]
        for item in (0, 1):
            for number in own[2 * item : 2 * item + 2]:
                yield Kill("ray", story, number, "before", WHO[item])
                yield Kill("ray", story, number, "after", WHO[1 - item])
        cut = own[:1] if story == "next" else []
        yield from (Kill("ray", story, number, phase, "worker") for number in cut for phase in ("torn", "unfinished"))


def draw(kills: Sequence[Kill | Moment | Stage], seed: int) -> list[Kill | Moment | Stage]:
    """All of them in an order drawn by `seed`: the first of each kind (store and story; training and who dies;
    retraining), the second of each ..."""
    shuffled = random.Random(seed).sample(kills, len(kills))
    before = Counter[tuple[str, str]]()
    places = {}
    for kill in shuffled:
        places[kill] = before[kill.kind]
        before[kill.kind] += 1
    return sorted(shuffled, key=lambda kill: places[kill])


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--kills", type=int, help="Moments to try; all of them without it.")
    group.addoption("--seed", type=int, default=0, help="Draws which moments, and their order.")
    group.addoption("--minutes", type=float, default=float("inf"), help="Begin no moment after so many.")
    group.addoption("--least", type=int, default=0, help="Fail where fewer moments have been survived.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = next((one for one in ("kill", "moment", "stage") if one in metafunc.fixturenames), None)
    if name is None:
        return
    found: list[Any] = []
    if metafunc.config.getoption("markexpr") == "chaos":
        if _KEPT not in metafunc.config.stash:
            metafunc.config.stash[_KEPT] = Chaos(metafunc.config)
        operations = metafunc.config.stash[_KEPT].kept["operations"]
        every: dict[str, Callable[[], Iterable[Any]]] = {
            "moment": moments,
            "stage": stages,
            "kill": partial(_kills, operations),
        }
        found = list(every[name]())
    metafunc.parametrize(name, found, ids=str)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Draws, and leaves out what passed before. What is no moment is tried where all are."""
    if _KEPT not in config.stash:
        return
    chaos = config.stash[_KEPT]
    tests: list[Any] = [item for item in items if item.get_closest_marker("chaos")]
    rest = [] if chaos.kills else [item for item in tests if not hasattr(item, "callspec")]
    found = {next(iter(item.callspec.params.values())): item for item in tests if hasattr(item, "callspec")}
    drawn = [found[kill] for kill in draw(list(found), chaos.seed)[: chaos.kills]]
    chaos.planned = [item.nodeid for item in [*drawn, *rest]]
    items[:] = [item for item in [*drawn, *rest] if item.nodeid not in chaos.passed]


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
            chaos.file.unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Few moments in little time are no proof."""
    chaos = session.config.stash.get(_KEPT, None)
    if chaos is not None and chaos.done < chaos.least:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield


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


@pytest.fixture(scope="session")
def training(s3_world: World, s3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """On a cluster of nodes of its own, whose token the victims know."""
    seen = s3_world.environment | {"PYTHONPATH": str(REPOSITORY)}
    with Cluster(1, seen, s3_world.victims.token) as cluster:
        folder = tmp_path_factory.mktemp("training")
        yield Training(s3_world.victims, s3, cluster, f"s3://{BUCKET}/training", folder)


@pytest.fixture(scope="session")
def retraining(victims: Victims, mlflow_server, tmp_path_factory: pytest.TempPathFactory) -> Retraining:
    return Retraining(victims, mlflow_server.uri, tmp_path_factory.mktemp("retraining"))
