"""A retraining's round: whose it is, and that whatever fails in it leaves the champion serving and the lock free."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest
from mlflow.tracking import MlflowClient
from ruamel.yaml import YAML

from infra.mlflow_server import MlflowServer
from infra.registry import CHAMPION, Registry
from infra.storage import Store, Unreachable, open_store
from pipelines.recipe import ComputeSettings
from pipelines.retrain.flow import at_version
from tests.chaos.killing import Killing
from tests.chaos.moments import Held, Place
from tests.pipelines.arriving import NAMES, arrive
from tests.pipelines.retraining import complete, parsed, recipe_over, tracking, version_of
from tests.pipelines.road import Ended, xmodal

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]

GOOD, WEAK, CHALLENGER = 1, 2, 3
"""Versions in the registry: two that were trained on the first survey alone, and one that begins afresh on both."""
SETTINGS = {"warm": False, "least_labelled": 10}
STAGES = {
    "look": Place("put", "/look.json$", "before"),
    "trained": Place("put", "/trained.json$", "before"),
    "report": Place("put", "/report.html$", "before"),
    "answers": Place("put", "/answers.parquet$", "before"),
    "gate": Place("put", "/gate.json$", "before"),
    "promotion": Place("create", "/promotions/", "before"),
}


class Failing(Held):
    """The fuse of a place at which the store does not answer."""

    def fatal(self, number: int, phase: str) -> Callable[[], None] | None:
        return _no_answer if (number, phase) == (self.place.number, self.place.phase) else None


def _no_answer() -> None:
    raise Unreachable("the store: no answer")


@contextmanager
def failing(place: Place) -> Iterator[None]:
    """Every recipe's store fails at the place."""
    opened, fuse = ComputeSettings.store, Failing(place, "")
    with patch.object(ComputeSettings, "store", lambda self: cast(Store, Killing(opened(self), fuse))):
        yield


@dataclass(frozen=True)
class Team:
    """A model whose challengers begin afresh, and its store."""

    registry: Registry
    root: Store
    recipe: Path

    def retrain(self) -> Ended:
        return xmodal("retrain", self.recipe, "--report", self.recipe.with_suffix(".html"))

    def promote(self, version: int) -> None:
        where = ("--tracking", self.registry.uri, "--root", self.root.url)
        assert xmodal("promote", f"{self.registry.model}/{version}", *where).code == 0

    def stages(self) -> list[str]:
        """Stages that are done, of all rounds."""
        return [Path(entry.key).name for entry in self.root.list("retrain")]

    def free(self) -> bool:
        """Whether nobody holds the model's lock."""
        return json.loads(self.root.read(f"locks/retrain-{self.registry.model}.json"))["owner"] is None


@pytest.fixture(scope="module")
def trained(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder in which all is that has arrived, and MLflow's runs of the three versions."""
    folder = tmp_path_factory.mktemp("rounds")
    url, made = str(folder), tracking(mlflow_server.uri, f"made-{secrets.token_hex(4)}")
    for name in ("one", "two"):
        arrive(open_store(f"{url}/{name}"), name, 8, NAMES[:2])
    good = parsed(url, "one", tracking=made)
    weak = parsed(url, "one", tracking=made, train={"optimizer": {"learning_rate": 1e-6}})
    afresh = parsed(url, "one", "two", tracking=made)
    one = version_of(good)
    runs = [complete(at_version(recipe, one), one)[1] for recipe in (good, weak)]
    two = version_of(afresh)
    return folder, [*runs, complete(at_version(afresh, two), two)[1]]


@pytest.fixture
def team(trained: tuple[Path, list[str]], mlflow_server: MlflowServer, tmp_path: Path) -> Team:
    folder, runs = trained
    client, registry = MlflowClient(mlflow_server.uri), Registry(mlflow_server.uri, f"traps-{secrets.token_hex(4)}")
    client.create_registered_model(registry.model)
    for run in runs:
        client.create_model_version(registry.model, f"runs:/{run}/model", run)
    root = shutil.copytree(folder / "root", tmp_path / "root", ignore=shutil.ignore_patterns("locks"))
    changes = {"tracking": tracking(registry.uri, registry.model), "compute": {"root": str(root)}}
    with (tmp_path / "recipe.yaml").open("w") as file:
        YAML().dump(recipe_over(str(folder), "one", "two", retrain=SETTINGS, **changes), file)
    return Team(registry, open_store(str(root)), tmp_path / "recipe.yaml")


def test_a_challenger_that_begins_afresh_is_judged_beside_each_champion(team: Team) -> None:
    """Its recipe does not say who the champion is, and what was said of it beside one is not said of another."""
    team.registry.serve(GOOD)
    ended = team.retrain()
    assert ended.code == 4 and f"{GOOD} stays, {team.registry.model}/{CHALLENGER} is its challenger" in ended.out
    team.promote(WEAK)
    ended = team.retrain()
    assert ended.code == 0 and f"{team.registry.model}/{CHALLENGER} is the champion" in ended.out, ended.out
    assert team.stages().count("gate.json") == 2


def test_a_failure_at_any_stage_leaves_the_champion_and_a_free_lock(team: Team) -> None:
    team.registry.serve(WEAK)
    for done, place in enumerate(STAGES.values()):
        with failing(place):
            ended = team.retrain()
        assert (ended.code, ended.err.splitlines()[-1]) == (5, "xmodal: the store: no answer"), place
        assert team.registry.champion() == WEAK and team.free() and len(team.stages()) == done, place
    assert team.retrain().code == 0
    assert team.registry.champion() == CHALLENGER and team.registry.version(CHALLENGER).aliases == (CHAMPION,)
    assert team.free() and f"{CHALLENGER} stays: 0 newly labelled" in team.retrain().out
