"""What the README shows works as pasted: `make demo`, every command of "The verbs", the recipe, the file map."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from infra.mlflow_server import MlflowServer
from infra.seaweed import SeaweedServer
from infra.storage import open_store
from pipelines.__main__ import cli
from tests.conftest import REPOSITORY
from tests.pipelines.road import xmodal
from tests.terminal import CTRL_C, AtTerminal

README = (REPOSITORY / "README.md").read_text()
DOCS = REPOSITORY / "docs"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.startswith("xmodal ")
]
ELSEWHERE = ("xmodal submit", "xmodal promote", "xmodal retrain", "xmodal tune", "xmodal serve")
"""Need a cluster's address, a registered model, or an hour, or never end: tests/pipelines/test_submit.py,
test_promote.py, test_retrain.py, test_tune_sweep.py, test_serve.py."""


@dataclass(frozen=True)
class Demo:
    """A checkout in which `make demo` was run twice at a terminal, and what it printed: first with DEMO_EXIT=1, so
    that it ended at once; then without, until Ctrl-C, when MLflow had answered `while_up` and the search page had
    `found` something. `screen` is the terminal."""

    folder: Path
    first: str
    second: str
    while_up: str
    found: dict[str, Any]
    screen: str

    @property
    def run(self) -> str:
        """The run that was trained."""
        names = set(re.findall(r"^run (\S+)$", self.first, re.MULTILINE))
        assert len(names) == 1, self.first
        return names.pop()


def make_demo(folder: Path, out: Path, **variables: str) -> AtTerminal:
    """`make demo` at a terminal, with this suite's environment in place of `.venv`."""
    venv = Path(sys.prefix)
    command = ["make", "-o", f"{venv}/installed", f"VENV={venv}", "demo"]
    return AtTerminal(command, folder, os.environ | {"TERM": "xterm"} | variables, out)


def demo_twice(folder: Path) -> Demo:
    """The second time it is left up, asked, and ended by Ctrl-C."""
    with make_demo(folder, folder / "first.out", DEMO_EXIT="1") as first:
        code = first.wait(1100)
        assert code == 0, first.written + first.screen
    with make_demo(folder, folder / "second.out") as second:
        second.until(lambda: "Ctrl-C ends them" in second.written, 600)
        address = mlflow_address(second.written)
        with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
            while_up = answer.read().decode()
        with urllib.request.urlopen(f"{page_address(second.written)}api/search?text=fox", timeout=60) as answer:
            found = json.loads(answer.read())
        second.press(CTRL_C)
        second.wait(60)  # make's own code: it was interrupted too
    return Demo(folder, first.written, second.written, while_up, found, first.screen)


def mlflow_address(printed: str) -> str:
    (address,) = re.findall(r"^  MLflow +(http://127\.0\.0\.1:\d+)", printed, re.MULTILINE)
    return address


def page_address(printed: str) -> str:
    (address,) = re.findall(r"^  search +(http://127\.0\.0\.1:\d+/)", printed, re.MULTILINE)
    return address


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, folder / name)
    recipe = folder / "pipelines/recipes/demo.yaml"
    whole = recipe.read_text()
    recipe.write_text(re.sub(r"\bepochs: \d+", "epochs: 3", whole))  # nothing here asks how much it has learnt
    assert recipe.read_text() != whole
    return demo_twice(folder)


@pytest.fixture(scope="module")
def services(demo: Demo) -> Iterator[dict[str, str]]:
    """The demo's servers, up again; the variables that lead to them."""
    home = demo.folder / ".xmodal/demo"
    with SeaweedServer(home / "s3") as storage, MlflowServer(home / "mlflow") as tracking:
        yield storage.environment() | {"XMODAL_ROOT": "s3://xmodal/root", "MLFLOW_TRACKING_URI": tracking.uri}


@pytest.fixture
def images(demo: Demo, services: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some of the demo's images."""
    for name, value in services.items():
        monkeypatch.setenv(name, value)
    store, folder = open_store("s3://xmodal-archive/generated"), demo.folder / "folder/of/images"
    folder.mkdir(parents=True, exist_ok=True)
    for entry in list(store.list("images"))[:3]:
        (folder / Path(entry.key).name).write_bytes(store.read(entry.key))
    return folder


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.services
@pytest.mark.timeout(1200)
def test_make_demo_ends_by_telling_what_to_open_and_reuses_what_is_there(demo: Demo) -> None:
    (report,) = re.findall(r"^  report +(\S+)$", demo.first, re.MULTILINE)
    assert Path(report).read_text().startswith("<!doctype html>")
    assert mlflow_address(demo.first) and page_address(demo.first)
    end = demo.first[demo.first.index("\ndone in ") :]
    assert re.search(r"^  figure +value +chance", end, re.MULTILINE) and 'xmodal search "' in demo.first
    assert len(re.findall(r"^  test/(?:species/m|t2i/map|caption/c)\S+ +[\d.]+\s?%? +[\d.]+", end, re.MULTILINE)) == 4
    assert f"run {demo.run}\n" in demo.second and " version 1 " in demo.second


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.services
@pytest.mark.timeout(1200)
def test_make_demo_stays_up_at_a_terminal_until_ctrl_c(demo: Demo) -> None:
    """With DEMO_EXIT=1 it did not; whatever it started stops with it. Progress is live."""
    assert "Ctrl-C ends them" not in demo.first and demo.while_up == "OK"
    assert demo.found["total"] > 1000 and demo.found["items"][0]["type"]
    assert demo.second.rstrip().endswith("stopping")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{mlflow_address(demo.second)}/health", timeout=5)
    assert demo.screen.count("\x1b[") > 10 and "samples/s" in demo.screen and "data wait" in demo.screen
    assert "evaluate: embedding" in demo.screen


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.services
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("command", [one for one in COMMANDS if not one.startswith(ELSEWHERE)])
def test_a_command_works_as_pasted(
    command: str, demo: Demo, images: Path, services: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUN, DATASET and my.yaml stand for the demo's. A verb leaves the environment as it was."""
    monkeypatch.chdir(demo.folder)
    shutil.copy("pipelines/recipes/demo.yaml", "my.yaml")
    names = {"RUN": demo.run, "DATASET": "demo"}
    words = [names.get(word, word) for word in shlex.split(command)]
    with patch.dict(os.environ, services):
        ended = xmodal(*words[1:])
    assert ended.code == 0 and ended.out.strip(), ended.err


def test_every_verb_is_shown_and_every_shown_command_is_a_verb() -> None:
    shown = {command.split()[1] for command in COMMANDS}
    assert shown == set(cli.commands)


def test_the_recipe_is_one(tmp_path: Path) -> None:
    (recipe,) = [block for language, block in BLOCKS if language == "yaml"]
    (tmp_path / "north-ridge.yaml").write_text(recipe)
    ended = xmodal("show", tmp_path / "north-ridge.yaml")
    assert ended.code == 0 and "north-ridge" in ended.out, ended.err


PLACEHOLDERS = re.compile(r"/(?:x|xyz)\.\w+$")
"""The file of whoever adds one."""


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in DOCS.glob("*.md"))])
def test_paths_and_modules_that_a_page_names_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    paths = set(re.findall(r"`((?:xmodal|pipelines|infra|tune_spaces|tests|docs|\.ci)/[\w./*-]*)`", text))
    lost = {one for one in paths if not PLACEHOLDERS.search(one) and not list(REPOSITORY.glob(one.rstrip("/")))}
    assert not lost, f"{page} names what does not exist: {sorted(lost)}"
    modules = set(re.findall(r"python -m ((?:pipelines|infra|tests)[\w.]*)", text))
    missing = {one for one in modules if find_spec(one) is None}
    assert not missing, f"{page} names modules that do not exist: {sorted(missing)}"


def test_the_file_map_names_files_that_exist() -> None:
    rows = re.findall(r"^\| `(\w+)/` \| (.*) \|$", README, re.MULTILINE)
    assert {folder for folder, _ in rows} == {"xmodal", "pipelines", "infra", "tune_spaces", "tests", "docs"}
    for folder, text in rows:
        for name in re.findall(r"`([\w./]+)`", text):
            found = list((REPOSITORY / folder).glob(f"{name.rstrip('/')}*"))
            assert found, f"{folder}/{name}"
