"""Prepare and gc killed at every durable operation: nothing half is visible, nothing is lost, and the next run ends
where an undisturbed one does."""

import os
import signal
from pathlib import Path

import pytest

from infra.storage import Store
from pipelines.dataset import Dataset, versions
from tests.chaos import stories
from tests.chaos.world import Kill, World

FEW = [
    Kill("local", "first", 3, "after"),
    Kill("local", "first", 10, "torn"),
    Kill("local", "next", 0, "before"),
    Kill("local", "gc", 0, "after"),
    Kill("local", "gc", 4, "before"),
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


def survives(kill: Kill, world: World, counter: Path) -> None:
    root = world.fresh(kill.story)
    ended = world.kill(kill, root, counter)
    assert ended == (0 if kill.victim == "worker" else -signal.SIGKILL), world.victims.log.read_text()[-3000:]
    assert kill.where != "ray" or len(os.listdir(counter)) > kill.number
    whole(root, kill.story)
    stories.end_lease(root)
    world.run(kill.story, root)
    assert whole(root, kill.story) and versions(root, stories.NAME)[-1] == stories.LAST[kill.story]
    world.run("gc", root)
    assert stories.state(root) == world.end(kill.story)
    assert list(root.leftovers()) == []


def whole(root: Store, story: str) -> list[int]:
    """The versions to be seen, all of which must be whole, and none that the story does not make."""
    seen = versions(root, stories.NAME)
    assert set(seen) <= set(range(1, stories.LAST[story] + 1))
    for version in seen:
        assert Dataset.open(root, stories.NAME, version).check(read_data=True) == []
    return seen
