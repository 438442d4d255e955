"""The code's commit: of the working directory, and none where there is no checkout or no git."""

from pathlib import Path

import pytest

from pipelines.code import git_commit


def test_a_machine_without_git_or_checkout_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(git_commit()) == 40
    with monkeypatch.context() as changed:
        changed.chdir(tmp_path)
        assert git_commit() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() == ""
