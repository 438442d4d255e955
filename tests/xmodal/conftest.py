"""What several tests of the method share."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models here are so small that threads cost more than they do."""
    torch.set_num_threads(1)
