"""A real MLflow server behind its own basic authentication, where nobody may read what is not theirs."""

import base64
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from infra.mlflow_server import START_SECONDS
from infra.process import Child, free_ports

CONFIG = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/users.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass(frozen=True)
class Guarded:
    """`user` may make experiments; only `admin_password` makes users. `flask_key` signs the server's sessions."""

    uri: str
    folder: Path
    user: str
    password: str
    admin_password: str
    flask_key: str
    pid: int

    def ask(self, path: str, user: str = "", password: str = "", body: object = None, **headers: str) -> int:
        """HTTP status of a request; without `user` an anonymous one."""
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers |= {"Content-Type": "application/json"} | ({"Authorization": f"Basic {login}"} if user else {})
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.uri + path, data, headers), timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code


@contextmanager
def guarded_mlflow(folder: Path) -> Iterator[Guarded]:
    if find_spec("flask_wtf") is None:
        pytest.skip("needs flask-wtf, which MLflow's authentication imports: pip install 'mlflow[auth]'")
    (port,) = free_ports(1)
    drawn = [secrets.token_hex(16) for _ in range(3)]
    address, user = f"http://127.0.0.1:{port}", "trainer"
    (folder / "auth.ini").write_text(CONFIG.format(folder=folder))
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": drawn[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": drawn[2],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with Child(command, folder / "mlflow.log", environment) as child:
        made = Guarded(address, folder, user, drawn[0], drawn[1], drawn[2], child.pid)
        child.wait_until(lambda: child.owns(port) and _healthy(made), START_SECONDS)
        new = {"username": user, "password": made.password}
        assert made.ask("/api/2.0/mlflow/users/create", "admin", made.admin_password, new) == 200
        yield made


def _healthy(server: Guarded) -> bool:
    try:
        return server.ask("/health") == 200
    except OSError:
        return False
