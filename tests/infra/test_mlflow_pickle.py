"""MLflow loads no pickle where we use it, whatever the user's environment says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.curves import set_limits
from tests.conftest import REPOSITORY

PICKLED = """
import sys, mlflow
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input
mlflow.pyfunc.save_model(sys.argv[1], python_model=Model())
"""
LOADED = """
import sys
from infra.curves import set_limits
if sys.argv[2] == 'ours': set_limits()
import mlflow
print('loaded', mlflow.pyfunc.load_model(sys.argv[1]).predict(['a']))
"""


def run(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """In `folder`: MLflow makes a database where it runs."""
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_pickled_model_is_refused_although_the_user_allows_it(tmp_path: Path) -> None:
    saved = run(tmp_path, PICKLED, str(tmp_path / "model"))
    assert saved.returncode == 0 and list((tmp_path / "model").glob("*.pkl")), saved.stderr
    assert "loaded ['a']" in run(tmp_path, LOADED, str(tmp_path / "model"), "theirs").stdout, "or it proves nothing"
    refused = run(tmp_path, LOADED, str(tmp_path / "model"), "ours")
    assert refused.returncode == 1 and "loaded" not in refused.stdout
    assert "MLFLOW_ALLOW_PICKLE_DESERIALIZATION" in refused.stderr


def test_other_limits_stay_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    set_limits()
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
