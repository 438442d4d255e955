"""The champion by hand, on a real MLflow server: decided once, followed by the alias, never overwritten by one who came
late."""

import json
import secrets
import subprocess
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from infra.lock import Lock, Lost
from infra.mlflow_server import MlflowServer
from infra.registry import CHAMPION, NoSuchModel, Registry
from infra.storage import Store, open_store
from pipelines.promotions import Promotion, Promotions, promoting
from tests.conftest import REPOSITORY
from tests.pipelines.road import xmodal

pytestmark = pytest.mark.services


@pytest.fixture
def registry(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A model of three versions."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    client, name = MlflowClient(mlflow_server.uri), f"traps-{secrets.token_hex(4)}"
    run = client.create_run(client.create_experiment(name))
    client.create_registered_model(name)
    for _ in range(3):
        client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    return Registry(mlflow_server.uri, name)


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "root"))


def decisions(root: Store, registry: Registry) -> list[Promotion]:
    keys = [entry.key for entry in root.list(f"promotions/{registry.model}")]
    return [Promotion(**json.loads(root.read(key))) for key in keys]


def test_there_and_back_again(registry: Registry, root: Store) -> None:
    def promoted(version: int, *more: str) -> list[str]:
        ended = xmodal("promote", f"{registry.model}/{version}", "--root", root.url, *more)
        assert ended.code == 0, ended.err
        return ended.out.splitlines()

    name = registry.model
    assert registry.champion() is None and [one.number for one in registry.versions()] == [3, 2, 1]
    assert promoted(1) == [f"{name}/1 is the champion"]
    first = [f"{name}/3 is the champion, in the place of {name}/1", f"back: xmodal promote {name}/1"]
    assert promoted(3, "--why", "better at the river") == first
    assert promoted(3) == [f"{name}/3 is the champion already"]
    assert promoted(1)[0].startswith(f"{name}/1 is the champion, in the place of {name}/3")
    assert registry.champion() == 1 and registry.version(1).aliases == (CHAMPION,)
    assert [(one.sequence, one.version, one.former) for one in decisions(root, registry)] == [
        (1, 1, None), (2, 3, 1), (3, 1, 3)
    ]  # fmt: skip
    assert [one.why for one in decisions(root, registry)] == ["by hand", "better at the river", "by hand"]
    fences = [one.fence for one in decisions(root, registry)]
    assert fences == sorted(set(fences))


@pytest.mark.parametrize(
    ("target", "code", "told"),
    [
        ("traps", 2, "traps: not a version of a registered model; write MODEL/VERSION, as in camera-traps/3"),
        ("traps/latest", 2, "traps/latest: not a version"),
        ("no-such-model/1", 10, "no-such-model: MLflow at "),
        ("{model}/9", 10, "{model}/9: no such version; allowed: 1, 2, 3"),
    ],
)
def test_a_mistake_is_a_line_and_decides_nothing(
    target: str, code: int, told: str, registry: Registry, root: Store
) -> None:
    ended = xmodal("promote", target.format(model=registry.model), "--root", root.url)
    assert ended.code == code and ended.line.startswith(f"xmodal: {told.format(model=registry.model)}")
    assert list(root.list()) == [] and registry.champion() is None


def test_without_a_server_it_says_so(root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ended = xmodal("promote", "traps/1", "--root", root.url)
    assert ended.code == 2 and "MLFLOW_TRACKING_URI" in ended.line
    ended = xmodal("promote", "traps/1", "--root", root.url, "--tracking", "http://127.0.0.1:9")
    assert ended.code == 5 and list(root.list()) == []


def test_who_was_killed_behind_the_decision_is_followed_up(registry: Registry, root: Store) -> None:
    with promoting(root, registry) as promotions:
        promotions.promote(1, "first")
        promotions._create(Promotion(2, 2, 1, "killed here", promotions.lock.fence, ""))
        assert registry.champion() == 1, "the old one serves on"
    with promoting(root, registry) as promotions:
        assert promotions.settle() == 2 == registry.champion()
        assert promotions.promote(3, "next").former == 2


def test_an_alias_that_somebody_moved_goes_back_to_what_was_decided(registry: Registry, root: Store) -> None:
    registry.serve(2)
    with promoting(root, registry) as promotions:
        assert promotions.settle() == 2 and promotions.newest() is None, "nobody has decided yet"
        assert promotions.promote(1, "first").former == 2
    registry.serve(3)
    with promoting(root, registry) as promotions:
        assert promotions.settle() == 1


def test_one_who_slept_past_the_lease_cannot_promote(registry: Registry, root: Store) -> None:
    sleeper = Lock(root, f"locks/retrain-{registry.model}.json", ttl=0.2)
    sleeper.acquire()
    late = Promotions(root, registry, sleeper)
    with promoting(root, registry, ttl=5) as promotions:
        promotions.promote(1, "by the second")
    with pytest.raises(Lost):
        late.promote(2, "too late")
    sleeper.confirm = lambda: None  # pyright: ignore[reportAttributeAccessIssue] # it does not even notice
    with pytest.raises(Lost, match="later holder"):
        late.promote(2, "too late")
    with pytest.raises(Lost, match="another holder"):
        late._create(Promotion(1, 2, None, "the same number", sleeper.fence, ""))
    assert registry.champion() == 1 and len(decisions(root, registry)) == 1


def test_a_lost_answer_is_read_back(registry: Registry, root: Store) -> None:
    with promoting(root, registry) as promotions:
        made = promotions.promote(1, "first")
        promotions._create(made)
    assert decisions(root, registry) == [made] and asdict(made)["version"] == 1
    with pytest.raises(NoSuchModel), promoting(root, registry) as promotions:
        promotions.promote(7, "never made")
    assert decisions(root, registry) == [made]


def test_of_two_at_once_each_works_or_leaves(registry: Registry, root: Store) -> None:
    """Two processes: the decisions are one row, and the alias is the last of them."""
    command = [sys.executable, "-m", "pipelines", "promote"]
    racing = [
        subprocess.Popen(
            [*command, f"{registry.model}/{1 + number}", "--root", root.url],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    told = [one.communicate(timeout=100)[1] for one in racing]
    codes = [one.returncode for one in racing]
    assert set(codes) <= {0, 11} and 0 in codes, told
    assert all("lock" in line for code, line in zip(codes, told, strict=True) if code == 11)
    made = decisions(root, registry)
    assert [one.sequence for one in made] == list(range(1, len(made) + 1)) and registry.champion() == made[-1].version
    assert all(one.former == before.version for before, one in pairwise(made))
