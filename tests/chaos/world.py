"""A store of one kind with the survey in it, and what each story leaves there when nothing is killed."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from infra.lock import PATIENCE
from infra.storage import Store, open_store
from pipelines.prepare.versions import LEASE_SECONDS
from tests.chaos import stories
from tests.chaos.killing import unfinished
from tests.chaos.moments import Place
from tests.conftest import REPOSITORY

SHORT_LEASE = 2.0
"""Seconds: enough to renew it in time on a busy machine."""


class Kill(NamedTuple):
    """A moment: `phase` of operation `number` of a story. Over Ray a worker is in it, and kills `victim`. Where the
    next run `waits`, the dead one's lease is SHORT_LEASE and ends by itself; else it is as if it were long over."""

    where: str
    story: str
    number: int
    phase: str
    victim: str = "driver"
    waits: bool = False

    @property
    def kind(self) -> tuple[str, str]:
        return self.where, self.story

    def __str__(self) -> str:
        last = ["waits"] * self.waits
        return "-".join([self.where, self.story, f"{self.number:03d}", self.phase, self.victim, *last])


class Victims:
    """The process whose forked children run stories (victim.py); its output goes to `log`. `token`: of the Ray cluster
    that they may join, known from the start because Ray notes on import whether there is one."""

    def __init__(self, log: Path) -> None:
        self.log, self.token = log, secrets.token_hex(32)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.chaos.victim"]
        ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=os.environ | ray,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def run(self, job: dict[str, Any]) -> int:
        """Exit status of the child that did `job`."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(job), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, f"the process that forks ended ({self.process.wait()}): {self.log.read_text()[-3000:]}"
        return int(answer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate()


class World:
    """Stories below `url`, each in a root of its own."""

    def __init__(self, victims: Victims, url: str, environment: dict[str, str], ray: str = "", like: Any = None):
        self.victims, self.url, self.environment, self.ray, self._like = victims, url, environment, ray, like

    @cached_property
    def archives(self) -> str:
        if self._like:
            return self._like.archives
        stories.write_archives(open_store(f"{self.url}/archives"))
        return f"{self.url}/archives"

    @cached_property
    def _told(self) -> dict[str, dict[str, Any]]:
        """By story: the objects and keys of unfinished uploads that it starts from, and the state after it and a gc."""
        if self._like:
            return self._like._told
        found: dict[str, dict[str, Any]] = {}
        objects: dict[str, bytes] = {}
        uploads: list[str] = []
        for story in stories.LAST:
            if story == "gc":
                objects, uploads = self._left(objects)
            found[story] = {"objects": objects, "uploads": uploads}
            root = self._filled(objects, uploads)
            self.run(story, root)
            objects = _objects(root)
            self.run("gc", root)
            found[story]["state"] = stories.state(root)
        return found

    def _left(self, objects: dict[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
        """What there is after a run that was killed half-way, and the keys of its unfinished uploads."""
        root = self._filled(objects, [])
        with tempfile.TemporaryDirectory() as folder:
            self.kill(Kill("", "left", *stories.LEFT_AT), root, Path(folder))
        found, uploads = _objects(root), [entry.key for entry in root.leftovers()]
        assert {key.split("/")[0] for key in found.keys() - objects.keys()} == {"datasets", "work"}
        assert len(uploads) == 1 and "/features/" in uploads[0] and stories.lock(root)["owner"]
        return found, uploads

    def _filled(self, objects: dict[str, bytes], uploads: list[str]) -> Store:
        root: Any = open_store(f"{self.url}/{secrets.token_hex(6)}")
        for key, data in objects.items():
            root.put(key, data)
        for key in uploads:
            unfinished(root, key, b"half", lambda: None)
        return root

    def fresh(self, story: str) -> Store:
        """A root in which the story can begin."""
        return self._filled(self._told[story]["objects"], self._told[story]["uploads"])

    def end(self, story: str) -> dict[str, Any]:
        """`stories.state` after an undisturbed story and a gc."""
        return self._told[story]["state"]

    def kill(self, kill: Kill, root: Store, folder: Path) -> int:
        """Exit status of a run that dies, and who killed leaves a mark in the empty `folder`; over Ray, operations are
        counted there too."""
        where = {name: str(folder / name) for name in ("marks", "counter")}
        for path in where.values():
            os.mkdir(path)
        lease = {"lease": SHORT_LEASE} if kill.waits else {}
        over_ray = {"ray": self.ray} if self.ray else {}
        return self.victims.run(self._job(kill.story, root) | kill._asdict() | where | lease | over_ray)

    def hold(self, story: str, root: Store, address: str, place: Place, folder: Path) -> int:
        """Exit status of a run over the Ray cluster at `address` in which somebody is held at a place, until the
        `folder` says that he may go on."""
        return self.victims.run(self._job(story, root) | {"ray": address, "place": place, "folder": str(folder)})

    def run(self, story: str, root: Store, waits: bool = False) -> None:
        """An undisturbed run."""
        code = self.victims.run(self._job(story, root) | ({"patience": PATIENCE} if waits else {}))
        assert code == 0, self.victims.log.read_text()[-3000:]

    def _job(self, story: str, root: Store) -> dict[str, Any]:
        return {
            "story": story,
            "archives": self.archives,
            "root": root.url,
            "environment": self.environment,
            "lease": LEASE_SECONDS,
            "patience": 0.0,
        }


def _objects(root: Store) -> dict[str, bytes]:
    return {entry.key: root.read(entry.key) for entry in root.list()}
