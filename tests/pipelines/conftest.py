"""What tests of the flows share: the tiny survey in a directory, and one prepared and trained on real services."""

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.storage import Store, open_store
from pipelines.prepare.settings import SurveySettings
from tests.conftest import BUCKET
from tests.pipelines.answering import Answering, answering
from tests.pipelines.plants import plant
from tests.pipelines.road import Ended, several_items, trained_run, write_recipe, xmodal
from tests.pipelines.surveys import Reads, write_survey


@dataclass(frozen=True)
class Road:
    """A run that is done; `prepared` and `trained` are how the verbs ended."""

    recipe: Path
    archive: Store
    root: Store
    environment: dict[str, str]
    experiment: str
    prepared: Ended
    trained: Ended

    @property
    def run(self) -> str:
        return trained_run(self.trained)


@pytest.fixture(scope="session")
def _road(s3, mlflow_server, ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Road:
    url, experiment = f"s3://{BUCKET}/{secrets.token_hex(6)}", f"road-{secrets.token_hex(4)}"
    environment = s3.environment() | {"XMODAL_ROOT": f"{url}/root", "MLFLOW_TRACKING_URI": mlflow_server.uri}
    tracking = {"experiment": experiment}
    folder = tmp_path_factory.mktemp("road")
    recipe = write_recipe(folder / "tiny.yaml", f"{url}/archive", f"{url}/root", tracking=tracking)
    with pytest.MonkeyPatch.context() as patch, several_items():
        for name, value in environment.items():
            patch.setenv(name, value)
        archive, root = open_store(f"{url}/archive"), open_store(f"{url}/root")
        write_survey(archive)
        plant(archive)
        return Road(recipe, archive, root, environment, experiment, xmodal("prepare", recipe), xmodal("train", recipe))


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Answering:
    """A model that can be asked what images show. Who changes what is stored puts it back."""
    return answering(tmp_path_factory.mktemp("answering"))


@pytest.fixture
def road(_road: Road, monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    """The run, with its services in the environment."""
    for name, value in _road.environment.items():
        monkeypatch.setenv(name, value)
    with several_items():
        yield _road


@pytest.fixture
def archive(tmp_path: Path) -> Store:
    """The tiny survey in a local directory."""
    store = open_store(str(tmp_path / "archive"))
    write_survey(store)
    return store


@pytest.fixture
def root(tmp_path: Path) -> Store:
    """An empty local storage root."""
    return open_store(str(tmp_path / "root"))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Bytes read by key, of every local archive that a survey opens."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(SurveySettings, "store", lambda self: Reads(self.archive, counts))
    return counts
