"""MLflow as the manifests start it, by their command, variables and basic_auth.ini: with passwords, on PostgreSQL."""

import base64
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from mlflow.tracking import MlflowClient

from infra.process import Child, free_ports
from infra.registry import Registry
from infra.storage import Denied
from infra.tracking import Tracker
from tests.infra.manifests import FOLDER, rendered
from tests.infra.postgres import PROGRAMS, Postgres, postgres

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(400)]
START_SECONDS = 200.0


@dataclass(frozen=True)
class Server:
    """`passwords` by user, of whom `admin` is one."""

    uri: str
    database: Postgres
    passwords: dict[str, str]

    def status(self, path: str, user: str | None = None, host: str | None = None, **body: str) -> int:
        """What a request is answered with; one with a body is a POST."""
        headers = {"Host": host} if host else {}
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{self.passwords[user]}".encode()).decode()
        if body:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.uri + path, json.dumps(body).encode() if body else None, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def log_in(self, user: str, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("MLFLOW_TRACKING_USERNAME", user)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", self.passwords[user])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not PROGRAMS:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    folder, documents = tmp_path_factory.mktemp("mlflow"), rendered("small")
    (pod,) = [one["spec"]["template"]["spec"] for one in documents if one["kind"] == "Deployment"]
    (settings,) = [
        one["data"] for one in documents if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "mlflow"
    ]
    (container,), (port,) = pod["containers"], free_ports(1)
    words = {"mlflow": "mlflow", "0.0.0.0": "127.0.0.1", "5000": str(port)}
    command = [sys.executable, "-m", *(words.get(word, word) for word in container["command"])]
    passwords = {user: secrets.token_hex(16) for user in ("admin", "xmodal", "visitor")}
    secret = {"MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32), "MLFLOW_AUTH_ADMIN_PASSWORD": passwords["admin"]}
    here = {"MLFLOW_AUTH_CONFIG_PATH": str(FOLDER / "base/basic_auth.ini"), "MLFLOW_ARTIFACTS_DESTINATION": str(folder)}
    with postgres(folder) as database:
        declared = {one["name"]: one["value"] for one in container["env"]} | settings
        environment = os.environ | declared | secret | here | database.environment()
        found = Server(f"http://127.0.0.1:{port}", database, passwords)
        with Child(command, folder / "mlflow.log", environment) as child:
            child.wait_until(lambda: child.owns(port) and _healthy(found), START_SECONDS)
            for user in ("xmodal", "visitor"):
                created = found.status("/api/2.0/mlflow/users/create", "admin", username=user, password=passwords[user])
                assert created == 200, (folder / "mlflow.log").read_text()
            yield found


def _healthy(server: Server) -> bool:
    try:
        return server.status("/health") == 200
    except OSError:
        return False


LISTED = "/api/2.0/mlflow/experiments/search?max_results=5"


def test_nobody_comes_in_without_a_password(server: Server) -> None:
    assert server.status(LISTED) == 401 and server.status("/metrics") == 401
    assert server.status(LISTED, "xmodal") == 200
    assert server.status("/api/2.0/mlflow/users/create", "xmodal", username="me-too", password="a" * 20) == 403


def test_it_answers_to_the_service_s_name_and_to_no_foreign_one(server: Server) -> None:
    for host in ("mlflow:5000", "mlflow", "mlflow.xmodal:5000"):
        assert server.status(LISTED, "xmodal", host) == 200, host
    assert server.status(LISTED, "xmodal", "evil.example.org") == 403


def test_a_run_and_a_champion_are_kept_in_postgresql_and_hidden_from_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.log_in("xmodal", monkeypatch)
    tracker = Tracker.start(
        server.uri, "surveys", "run-1", params={"train.seed": 1}, tags={"a": "b"}, system_metrics=False
    )
    tracker.log(1, {"train/loss": 2.5})
    tracker.finish()
    client = MlflowClient(tracking_uri=server.uri)
    client.create_registered_model("camera-traps")
    client.create_model_version("camera-traps", f"runs:/{tracker.run_id}/model", tracker.run_id)
    registry = Registry(server.uri, "camera-traps")
    assert registry.champion() is None
    registry.serve(1)
    assert registry.champion() == 1 and registry.version(1).run == tracker.run_id
    assert server.database.ask("SELECT name, status FROM runs") == [("run-1", "FINISHED")]
    assert server.database.ask("SELECT key, value FROM metrics") == [("train/loss", 2.5)]
    assert {name for (name,) in server.database.ask("SELECT username FROM users")} == set(server.passwords)
    server.log_in("visitor", monkeypatch)
    with pytest.raises(Denied, match="refuses"):
        Tracker.start(server.uri, "surveys", "", params={}, tags={}, run_id=tracker.run_id)
    with pytest.raises(Denied, match="refuses"):
        registry.serve(1)
