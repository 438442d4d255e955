"""`xmodal retrain` from survey to survey, through a real S3 store, MLflow and Ray: promoted, kept, stopped, refused."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from ruamel.yaml import YAML

from infra.mlflow_server import MlflowServer
from infra.registry import CHALLENGER, CHAMPION, Registry
from infra.storage import Store, open_store
from tests.conftest import REPOSITORY
from tests.pipelines.arriving import NAMES, arrive, images, label
from tests.pipelines.retraining import recipe_over, tracking
from tests.pipelines.road import Ended, xmodal


class Team:
    """One model of one team: its store, its registry, and its schedule's command."""

    def __init__(self, url: str, uri: str, folder: Path) -> None:
        self.url, self.uri, self.folder = url, uri, folder
        self.model = f"traps-{secrets.token_hex(4)}"
        self.root, self.registry = open_store(f"{url}/root"), Registry(uri, self.model)

    def retrain(self, *names: str, **settings: Any) -> Ended:
        """`xmodal retrain` over the surveys `names`, in the suite's Ray cluster."""
        return xmodal(*self.words(*names, **settings))

    def words(self, *names: str, **settings: Any) -> list[str | Path]:
        recipe = self.folder / "recipe.yaml"
        with recipe.open("w") as file:
            YAML().dump(recipe_over(self.url, *names, tracking=tracking(self.uri, self.model)), file)
        changes = [f"retrain.{name}={value}" for name, value in settings.items()]
        return ["retrain", recipe, *changes, "--report", self.folder / "report.html"]

    def twice_at_once(self, *names: str, **settings: Any) -> tuple[Ended, Ended]:
        """The same here and in a process of its own, which has yet to start when the lock is taken here."""
        words = self.words(*names, **settings)
        command = [sys.executable, "-m", "pipelines", *map(str, words)]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=PIPE, stderr=PIPE, text=True) as other:
            ended = xmodal(*words)
            out, err = other.communicate()
        return ended, Ended(other.returncode, out, err)

    def free(self) -> bool:
        """Whether nobody holds the model's lock."""
        return json.loads(self.root.read(f"locks/retrain-{self.model}.json"))["owner"] is None

    def archive(self, name: str) -> Store:
        return open_store(f"{self.url}/{name}")

    def aliases(self) -> dict[str, int]:
        return {alias: one.number for one in self.registry.versions() for alias in one.aliases}

    def gate(self) -> dict[str, Any]:
        """The newest decision of the gate."""
        keys = [entry.key for entry in self.root.list(f"retrain/{self.model}") if entry.key.endswith("/gate.json")]
        return json.loads(self.root.read(max(keys)))


@pytest.fixture
def team(bucket_url: str, mlflow_server: MlflowServer, ray_cluster: str, tmp_path: Path) -> Team:
    return Team(bucket_url, mlflow_server.uri, tmp_path)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.services
@pytest.mark.timeout(1200)
def test_from_survey_to_survey(team: Team) -> None:
    arrive(team.archive("one"), "one", 12, NAMES[:2])
    ended = team.retrain("one")
    assert ended.code == 0 and ended.out.startswith(f"{team.model}/1 is the first champion"), ended.err
    ended = team.retrain("one")
    assert ended.code == 0 and f"{team.model}/1 stays: 0 newly labelled training images" in ended.out, ended.err

    arrive(team.archive("two"), "two", 12, NAMES, wrong=6)
    ended = team.retrain("one", "two")
    assert ended.code == 0 and f"{team.model}/2 is the champion: By the gate it would take" in ended.out, ended.err
    assert "species Sus scrofa" in ended.err and f"{team.model}/1 names " in ended.err
    assert team.aliases() == {CHAMPION: 2}
    page = (team.folder / "report.html").read_text()
    assert "Beside " in page and "old species" in page

    arrive(team.archive("three"), "three", 16, NAMES, shuffled=True)
    ended = team.retrain("one", "two", "three")
    assert ended.code == 4 and f"{team.model}/2 stays, {team.model}/3 is its challenger" in ended.out, ended.err
    assert team.aliases() == {CHAMPION: 2, CHALLENGER: 3} and not team.gate()["promote"]

    label(team.archive("two"), images("two", 12, NAMES))
    ended = team.retrain("one", "two", least_labelled=50)
    assert ended.code == 0 and f"{team.model}/2 stays: 6 newly labelled training images, 50 are asked for" in ended.out
    assert "(6 of them corrected)" in ended.err and team.aliases() == {CHAMPION: 2, CHALLENGER: 3}

    ended, other = team.twice_at_once("one", "two", least_labelled=5)
    assert ended.code == 4 and f"{team.model}/2 stays, {team.model}/4 is its challenger" in ended.out, ended.err
    assert "to train: 6 newly labelled training images, at least 5 are asked for" in ended.err
    assert other.code == 11 and f"process {os.getpid()} on " in other.line and "holds the lock; wait" in other.line
    assert team.aliases() == {CHAMPION: 2, CHALLENGER: 4} and team.free()
