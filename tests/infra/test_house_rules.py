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


SKIPPING = """
import pytest
def test_it(): pytest.skip('no such thing here')
"""
OWN = """
import os, pathlib, tempfile
def test_home():
    assert "pytest" in tempfile.mkdtemp() and "pytest" in str(pathlib.Path.home())
    assert "AWS_PROFILE" not in os.environ
"""


def test_skips_pass_and_home_and_temporary_files_are_the_suites_own(tmp_path):
    got, output = run(tmp_path, SKIPPING + OWN, AWS_PROFILE="mine")
    assert got == 0 and "1 passed, 1 skipped" in output, output


def test_in_ci_a_skip_fails_but_for_want_of_a_gpu(tmp_path):
    of_gpu = SKIPPING.replace("def test_it", "@pytest.mark.gpu\ndef test_gpu")
    got, output = run(tmp_path, SKIPPING + of_gpu, CI="1")
    assert got == 1 and "1 failed, 1 skipped" in output and "counts as failed in CI" in output, output


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "shared by two"])
def test_a_process_left_behind_fails_the_suite(tmp_path, options):
    test = """
        import subprocess, sys
        def test_it(): subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    """
    (tmp_path / "conftest.py").write_text("import tests.conftest\ntests.conftest.LEFTOVER_SECONDS = 0.1\n")
    got, output = run(tmp_path, test.replace("\n        ", "\n"), *options)
    assert got == 1 and "left run" in output and "time.sleep(600)" in output, output
