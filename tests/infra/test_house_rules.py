"""The suite's own rules, tried on small suites: in CI a skip fails, a process left behind fails, the rest passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent


def run(folder: Path, test: str, *options: str, **environment: str) -> tuple[int, str]:
    (folder / "test_small.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", "pyproject.toml", "--rootdir=."]
    inherited = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *options, str(folder)], cwd=REPOSITORY, env=inherited | environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


SKIPPING = "import pytest\n{mark}\ndef test_it(): pytest.skip('no such thing here')\n"


@pytest.mark.parametrize(
    ("mark", "environment", "code"),
    [("", {}, 0), ("", {"CI": "1"}, 1), ("@pytest.mark.gpu", {"CI": "1"}, 0)],
    ids=["skip", "skip in CI", "missing GPU in CI"],
)
def test_skips(tmp_path, mark, environment, code):
    got, output = run(tmp_path, SKIPPING.format(mark=mark), **environment)
    assert got == code, output
    assert ("counts as failed in CI" in output) == bool(code)


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "shared by two"])
def test_a_process_left_behind_fails_the_suite(tmp_path, options):
    test = """
        import subprocess, sys
        def test_it(): subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    """
    (tmp_path / "conftest.py").write_text("import tests.conftest\ntests.conftest.LEFTOVER_SECONDS = 0.1\n")
    got, output = run(tmp_path, test.replace("\n        ", "\n"), *options)
    assert got == 1 and "left run" in output and "time.sleep(600)" in output, output


def test_home_and_temporary_files_are_the_suites_own(tmp_path):
    test = """
        import os, pathlib, tempfile
        def test_it():
            assert "pytest" in tempfile.mkdtemp() and "pytest" in str(pathlib.Path.home())
            assert "AWS_PROFILE" not in os.environ
    """
    got, output = run(tmp_path, test.replace("\n        ", "\n"), AWS_PROFILE="mine")
    assert got == 0, output
