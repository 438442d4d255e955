"""A store of one kind with the survey in it, and what each story leaves there when nothing is killed."""

import json
import os
import secrets
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from infra.storage import Store, open_store
from tests.chaos import stories
from tests.conftest import REPOSITORY


class Kill(NamedTuple):
    """A moment: `phase` of operation `number` of a story. Over Ray a worker is in it, and kills `victim`."""

    where: str
    story: str
    number: int
    phase: str
    victim: str = "driver"

    def __str__(self) -> str:
        return "-".join([self.where, self.story, f"{self.number:03d}", self.phase, self.victim])


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
        """By story: the objects it starts from, and the state after it and a gc."""
        if self._like:
            return self._like._told
        found: dict[str, dict[str, Any]] = {}
        objects: dict[str, bytes] = {}
        for story in stories.LAST:
            found[story] = {"objects": objects}
            root = self._filled(objects)
            self.run(story, root)
            objects = {entry.key: root.read(entry.key) for entry in root.list()}
            self.run("gc", root)
            found[story]["state"] = stories.state(root)
        return found

    def _filled(self, objects: dict[str, bytes]) -> Store:
        root = open_store(f"{self.url}/{secrets.token_hex(6)}")
        for key, data in objects.items():
            root.put(key, data)
        return root

    def fresh(self, story: str) -> Store:
        """A root in which the story can begin."""
        return self._filled(self._told[story]["objects"])

    def end(self, story: str) -> dict[str, Any]:
        """`stories.state` after an undisturbed story and a gc."""
        return self._told[story]["state"]

    def kill(self, kill: Kill, root: Store, counter: Path) -> int:
        """Exit status of a run that dies; over Ray, `counter` is the empty folder in which operations are counted."""
        over_ray = {"ray": self.ray, "counter": str(counter)} if self.ray else {}
        return self.victims.run(kill._asdict() | over_ray | self._job(kill.story, root))

    def run(self, story: str, root: Store) -> None:
        """An undisturbed run."""
        code = self.victims.run(self._job(story, root))
        assert code == 0, self.victims.log.read_text()[-3000:]

    def _job(self, story: str, root: Store) -> dict[str, Any]:
        return {"story": story, "archives": self.archives, "root": root.url, "environment": self.environment}
