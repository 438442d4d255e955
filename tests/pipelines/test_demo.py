"""The demo's manners: a cut archive is drawn again, it stays up at a terminal alone, and Ctrl-C ends it in one line."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore

import psutil
import pytest

from infra.storage import LocalStore, Store, open_store
from pipelines.demo import TINY, generate
from pipelines.demo.__main__ import stays
from pipelines.demo.survey import DETECTOR_KEY, is_complete
from tests.conftest import REPOSITORY
from tests.pipelines.surveys import write_survey
from tests.terminal import CTRL_C, AtTerminal


@dataclass(frozen=True)
class FullDisk(LocalStore):
    """A store that takes `left` more objects."""

    left: Semaphore

    def put(self, key: str, data: bytes) -> str:
        if not self.left.acquire(blocking=False):
            raise OSError("no space left")
        return super().put(key, data)


@pytest.fixture
def whole(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "whole"))
    write_survey(store)
    return store


@pytest.mark.parametrize("missing", [1, 4])
def test_an_archive_that_was_cut_is_not_taken_for_whole(whole: Store, tmp_path: Path, missing: int) -> None:
    """Whatever the last object was, the next drawing makes it whole."""
    keys = [entry.key for entry in whole.list()]
    assert is_complete(whole) and DETECTOR_KEY in keys
    folder = tmp_path / "cut"
    folder.mkdir()
    with pytest.raises(OSError, match="no space left"):
        generate(FullDisk(str(folder), Semaphore(len(keys) - missing)), TINY)
    again = open_store(str(folder))
    assert not is_complete(again)
    generate(again, TINY)
    assert is_complete(again)
    assert [entry.key for entry in again.list()] == keys
    assert all(again.read(key) == whole.read(key) for key in keys)


def test_it_stays_up_at_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        def __init__(self, terminal: bool) -> None:
            self.isatty = lambda: terminal

    for terminal, leave, wanted in ((True, "", True), (True, "1", False), (False, "", False), (False, "1", False)):
        monkeypatch.setattr(sys, "stdin", Stdin(terminal))
        monkeypatch.setenv("DEMO_EXIT", leave)
        assert stays() is wanted


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[AtTerminal]:
    """The demo at a terminal, in an empty folder."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}
    with AtTerminal([sys.executable, "-m", "pipelines.demo"], tmp_path, environment, tmp_path / "out") as program:
        yield program


@pytest.mark.services
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_while_it_starts(demo: AtTerminal) -> None:
    """The survey is being drawn and MLflow and Ray are on their way."""
    demo.until(lambda: "== drawing" in demo.screen and "== starting MLflow" in demo.screen, 120)
    family = psutil.Process(demo.process.pid).children(recursive=True)
    demo.press(CTRL_C)
    begun = time.monotonic()
    code = demo.wait(60)
    print(f"ended {time.monotonic() - begun:.1f} s after Ctrl-C")
    assert code == 130 and "Traceback" not in demo.screen, demo.screen
    last = demo.screen.splitlines()[-1].removeprefix("^C")  # what the terminal itself says of the key
    assert last == "interrupted; run the same command again to continue", demo.screen
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".xmodal/demo/mlflow").mkdir(parents=True)
    (tmp_path / ".xmodal/demo/mlflow/mlflow.db").write_text("this is no database" * 100)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with AtTerminal([sys.executable, "-m", "pipelines.demo"], tmp_path, environment, tmp_path / "out") as program:
        code = program.wait(200)
    assert code == 1 and "Traceback" not in program.screen, program.screen
    assert program.screen.splitlines()[-1].startswith("xmodal: mlflow ended ("), program.screen
