"""A prepare killed at any moment: nothing half is visible, and the next run ends where an undisturbed one does."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.storage import Store, open_store
from pipelines.dataset import Dataset, versions
from tests.pipelines import killed_prepare
from tests.pipelines.surveys import write_survey

REPOSITORY = Path(__file__).parents[2]
FEW = (1, 3, 10, 17, 24)
"""Moments that every run of the suite tries; `make chaos` tries them all."""


@pytest.fixture
def archive(tmp_path: Path) -> str:
    store = open_store(str(tmp_path / "archive"))
    write_survey(store)
    return store.url


def stored(root: Store) -> dict[str, bytes]:
    """All parts and vocabularies; ledger parts as rows without the time of their last change."""
    home = root.child("datasets/tiny")
    parts = {e.key: home.read(e.key) for e in home.list() if not e.key.startswith(("ledger/", "versions/"))}
    ledger = Dataset.open(root, "tiny").ledger().drop_columns(["seen_at"])
    return parts | {"ledger": repr(ledger.to_pylist()).encode()}


def kill(archive: str, folder: Path, moments: list[int]) -> list[Store]:
    """A root for each moment, in which a prepare was killed at it."""
    runs = [f"{folder / str(moment)}:{moment}" for moment in moments]
    command = [sys.executable, "-m", "tests.pipelines.killed_prepare", archive, *runs]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(moments), done.stderr
    return [open_store(str(folder / str(moment))) for moment in moments]


def check(archive: str, tmp_path: Path, moments: list[int], undisturbed: dict[str, bytes]) -> None:
    for root in kill(archive, tmp_path / "killed", moments):
        committed = versions(root, "tiny")
        assert all(Dataset.open(root, "tiny", number).check(read_data=True) == [] for number in committed)
        killed_prepare.prepare(archive, root.url)
        assert versions(root, "tiny") == [1]
        assert stored(root) == undisturbed, f"killed in {root.url}"
        assert Dataset.open(root, "tiny").check(read_data=True) == []
        assert committed or not list(root.list("work"))  # receipts of a run killed behind its commit are gc's


def undisturbed_run(archive: str, tmp_path: Path) -> tuple[dict[str, bytes], int]:
    root = open_store(str(tmp_path / "undisturbed"))
    before = killed_prepare._moments
    moments = killed_prepare.prepare(archive, root.url) - before
    return stored(root), moments


def test_a_killed_prepare_is_completed_by_the_next(archive: str, tmp_path: Path) -> None:
    undisturbed, moments = undisturbed_run(archive, tmp_path)
    check(archive, tmp_path, [*FEW, moments - 1], undisturbed)


@pytest.mark.chaos
def test_a_prepare_killed_around_every_durable_operation(archive: str, tmp_path: Path) -> None:
    undisturbed, moments = undisturbed_run(archive, tmp_path)
    check(archive, tmp_path, list(range(moments)), undisturbed)
