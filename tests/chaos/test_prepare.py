"""Prepare and gc killed at every durable operation: nothing half is visible, nothing is lost, and the next run ends
where an undisturbed one does."""

import os
import signal
import time
from pathlib import Path

import pytest

from infra.lock import PATIENCE
from infra.storage import Store
from pipelines.dataset import Dataset, versions
from tests.chaos import stories
from tests.chaos.moments import Place, held
from tests.chaos.world import SHORT_LEASE, Kill, Victims, World
from tests.conftest import REPOSITORY
from tests.pipelines.nodes import Cluster

FEW = [
    Kill("local", "first", 6, "after"),
    Kill("local", "first", 14, "torn"),
    Kill("local", "next", 20, "after"),
    Kill("local", "gc", 5, "after"),
    Kill("local", "gc", 20, "before"),
]
"""Moments that every run of the suite tries; `make chaos` tries them all."""


@pytest.mark.chaos
@pytest.mark.services
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_kill(kill: Kill, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    survives(kill, request.getfixturevalue(f"{kill.where}_world"), tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("one", FEW, ids=str)
def test_a_few_kills(one: Kill, local_world: World, tmp_path: Path) -> None:
    survives(one, local_world, tmp_path)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_node_dies_while_workers_of_two_write_pixels(local_world: World, victims: Victims, tmp_path: Path) -> None:
    """A head of one CPU and a node of two: what was under way on the node is done once more on the head."""
    place = Place("put", "/datasets/.*/pixels/", "after")
    with Cluster(1, {"PYTHONPATH": str(REPOSITORY)}, victims.token) as cluster:
        node, root = cluster.node("node"), local_world.fresh("first")
        with held(lambda: local_world.hold("first", root, cluster.address, place, tmp_path), tmp_path) as status:
            node.signal(signal.SIGKILL)
    assert status == [0], victims.log.read_text()[-3000:]
    assert whole(root, "first") == [1]
    local_world.run("gc", root)
    assert stories.state(root) == local_world.end("first") and list(root.leftovers()) == []


def survives(kill: Kill, world: World, folder: Path) -> None:
    root = world.fresh(kill.story)
    ended = world.kill(kill, root, folder)
    assert ended == (0 if kill.victim == "worker" else -signal.SIGKILL), world.victims.log.read_text()[-3000:]
    assert len(os.listdir(folder / "marks")) == 1, "nobody was killed, or more than one"
    whole(root, kill.story)
    goes_on(kill, world, root)
    assert whole(root, kill.story) and versions(root, stories.NAME)[-1] == stories.LAST[kill.story]
    world.run("gc", root)
    assert stories.state(root) == world.end(kill.story)
    assert list(root.leftovers()) == []


def goes_on(kill: Kill, world: World, root: Store) -> None:
    """The next run takes the lock over from the dead one, whose lease it waits for."""
    dead, begun = stories.lock(root), time.monotonic()
    world.run(kill.story, root, kill.waits)
    waited = time.monotonic() - begun
    assert stories.lock(root).items() >= {"owner": None, "fence": dead["fence"] + 1}.items()
    assert not (kill.waits and dead["owner"]) or waited >= SHORT_LEASE * PATIENCE


def whole(root: Store, story: str) -> list[int]:
    """The versions to be seen, all of which must be whole, and none that the story does not make."""
    seen = versions(root, stories.NAME)
    assert set(seen) <= set(range(1, stories.LAST[story] + 1))
    for version in seen:
        assert Dataset.open(root, stories.NAME, version).check(read_data=True) == []
    return seen
