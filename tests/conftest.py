"""Fixtures of the whole suite: real servers and Ray, each started once and only when a test asks, and rules no test may break.

Isolation is by prefix, experiment and run name, not by server. HOME and the temporary directory are the suite's own.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from infra.process import Child, children_of, session_members

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
os.environ["RAY_AUTH_MODE"] = "disabled"
torch.set_num_threads(1)

REPOSITORY = Path(__file__).parent.parent
WORKERS = 2
BUCKET = "xmodal-tests"


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is written to the user's HOME, and what is left in the temporary directory goes with the suite's."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr(tempfile, "tempdir", None)
        yield
