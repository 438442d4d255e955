"""What several tests of the method share."""

from collections.abc import Iterator

import pytest
import torch

from tests.xmodal.world import World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Processes that form gloo groups; started by the first test that asks."""
    made = World()
    yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models here are so small that threads cost more than they do."""
    torch.set_num_threads(1)
