"""Secrets where a team that submits jobs has them, and a search for them in all that a job leaves and shows."""

import base64
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.storage import Store
from tests.infra.guarded_mlflow import Guarded
from tests.infra.ray_head import Head
from tests.pipelines.plants import readable

STATE = ("jobs", "runtime_envs", "workers", "actors", "tasks", "nodes")
"""Lists of Ray's State API, which `ray list ... --detail` prints."""


def drawn() -> str:
    return f"planted-{secrets.token_hex(12)}"


@dataclass
class Secrets:
    """`used` are the services' own, without which the job could not work; the others were planted. `nodes` is what the
    cluster's nodes are given, `submitter` what stands in the environment of the one who submits."""

    s3: Mapping[str, str]
    mlflow: Guarded
    hub: str = field(default_factory=drawn)
    git: str = field(default_factory=drawn)
    proxy: str = field(default_factory=drawn)
    dotenv: str = field(default_factory=drawn)
    key: str = field(default_factory=drawn)
    profile: str = field(default_factory=drawn)
    recipe: str = field(default_factory=drawn)

    @property
    def nodes(self) -> dict[str, str]:
        login = {"MLFLOW_TRACKING_USERNAME": self.mlflow.user, "MLFLOW_TRACKING_PASSWORD": self.mlflow.password}
        return dict(self.s3) | login | {"HF_TOKEN": self.hub}

    @property
    def submitter(self) -> dict[str, str]:
        proxy = f"http://me:{self.proxy}@proxy.example:3128"
        return dict(self.s3) | {"GITHUB_TOKEN": self.git, "HTTPS_PROXY": proxy, "MLFLOW_TRACKING_URI": self.mlflow.uri}

    def all(self, head: Head) -> dict[str, list[str]]:
        """By where each stands, the texts to look for."""
        login = base64.b64encode(f"{self.mlflow.user}:{self.mlflow.password}".encode()).decode()
        return {
            "nodes AWS_ACCESS_KEY_ID": [self.s3["AWS_ACCESS_KEY_ID"]],
            "nodes AWS_SECRET_ACCESS_KEY": [self.s3["AWS_SECRET_ACCESS_KEY"]],
            "nodes MLFLOW_TRACKING_PASSWORD": [self.mlflow.password, login],
            "nodes HF_TOKEN": [self.hub],
            "nodes RAY_AUTH_TOKEN": [head.token],
            "mlflow MLFLOW_AUTH_ADMIN_PASSWORD": [self.mlflow.admin_password],
            "mlflow MLFLOW_FLASK_SERVER_SECRET_KEY": [self.mlflow.flask_key],
            "submitter GITHUB_TOKEN": [self.git],
            "submitter HTTPS_PROXY": [self.proxy],
            "folder .env": [self.dotenv],
            "folder deploy.pem": [self.key],
            "folder, a link to a profile": [self.profile],
            "folder, another recipe": [self.recipe],
        }

    def plant(self, folder: Path, elsewhere: Path) -> None:
        """The files. The other recipe comes last: nothing is sent while it is there."""
        (folder / ".env").write_text(f"SOME_PASSWORD={self.dotenv}\n")
        (folder / "deploy.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{self.key}\n")
        (elsewhere / "credentials").write_text(f"[default]\naws_secret_access_key = {self.profile}\n")
        (folder / "profile").symlink_to(elsewhere / "credentials")

    def leaky(self, folder: Path) -> Path:
        path = folder / "leaky.yaml"
        path.write_text(f"tracking: {{uri: 'http://me:{self.recipe}@mlflow.example:5000'}}\n")
        return path

    def sources(self, head: Head, folder: Path) -> str:
        """Where they stand: what is not found here was not planted."""
        files = [folder / name for name in (".env", "deploy.pem", "profile", "leaky.yaml")]
        processes = [Path(f"/proc/{pid}/environ") for pid in (head.pid, self.mlflow.pid)]
        shows = [sys.executable, "-c", "import os; print(dict(os.environ))"]
        own = subprocess.run(shows, env=self.submitter, capture_output=True, text=True, check=True).stdout
        return own + "".join(path.read_bytes().decode(errors="replace") for path in [*files, *processes])


def left(head: Head, mlflow: Guarded, root: Store, said: list[subprocess.CompletedProcess[str]]) -> dict[str, str]:
    """All that jobs left and show, by place, as text."""
    return {
        "bucket": "\n".join(f"{one.key} {readable(root.read(one.key), one.key)}" for one in root.list()),
        "mlflow": "\n".join(_files(mlflow.folder, "auth.ini")),
        "ray session": "\n".join(_files(head.directory)),
        "job api": head.get("/api/jobs/").decode(),
        "state api": "\n".join(head.get(f"/api/v0/{one}?detail=true&limit=1000").decode() for one in STATE),
        "commands": "\n".join(one.stdout + one.stderr for one in said),
    }


def _files(folder: Path, *without: str) -> Iterator[str]:
    """Names and contents of the files below it; databases and their journals as they lie on the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name not in without:
            yield f"{path} {path.read_bytes().decode('latin-1')}"


def found(planted: dict[str, list[str]], places: dict[str, str]) -> list[tuple[str, str]]:
    """(plant, place) of all that is found."""
    return [
        (name, place)
        for name, texts in planted.items()
        for place, text in places.items()
        if any(one in text for one in texts)
    ]
