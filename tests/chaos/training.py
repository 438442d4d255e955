"""A tiny training run of two workers on a cluster of two nodes over S3, in which one of them all dies."""

import os
import secrets
import signal
import time
from functools import cached_property
from pathlib import Path

from infra.process import below, ended
from infra.seaweed import SeaweedServer
from infra.storage import Store, open_store
from pipelines.train.runs import Run
from tests.chaos.moments import DRIVER, EVERY, GONE_ON, HELD, PLACES, STEPS, Moment, wait_until
from tests.chaos.world import Victims
from tests.pipelines.nodes import Cluster
from tests.pipelines.road import copy, prepared, write_recipe

DOWN = 2.0
"""Seconds for which the S3 server is away."""
_TIMEOUTS = {"collective_timeout": 180, "first_batch_timeout": 180, "store_patience": 120}
COMPUTE = {"workers": 2, "cpus_per_worker": 2, "start_timeout": 120, "health_timeout": 300} | _TIMEOUTS
"""The head has one CPU, for the reader; one node has four, for both workers."""


class Training:
    """Runs below `url`, each in a root of its own that holds the same dataset."""

    def __init__(self, victims: Victims, server: SeaweedServer, cluster: Cluster, url: str, folder: Path) -> None:
        self.victims, self.server, self.cluster, self.url, self.folder = victims, server, cluster, url, folder
        self._grow()

    def _grow(self) -> None:
        self.raylet = self.cluster.node(secrets.token_hex(4), cpus=4)

    @cached_property
    def dataset(self) -> Store:
        prepared(self.url)
        return open_store(self.url)

    @cached_property
    def undisturbed(self) -> Run:
        root = self.fresh()
        assert self.run(root) == 0, self.log()
        return the_run(root)

    def fresh(self) -> Store:
        """A root with the dataset alone."""
        root = open_store(f"{self.dataset.url}-{secrets.token_hex(6)}")
        copy(self.dataset.child("datasets"), root.child("datasets"))
        return root

    def run(self, root: Store, moment: Moment | None = None, folder: Path | None = None) -> int:
        """Exit status of a driver that trains below `root`; it is held at the moment, which is written to `folder`."""
        recipe = write_recipe(
            self.folder / f"{secrets.token_hex(4)}.yaml",
            f"{self.url}/archive",
            root.url,
            train={"epochs": STEPS // 2, "checkpoint_every": EVERY},
            compute=COMPUTE | {"ray_address": self.cluster.address},
        )
        job = {"recipe": str(recipe), "environment": self.server.environment(), "patience": 0.0}
        held = {"place": PLACES[moment.place], "folder": str(folder)} if moment else {}
        return self.victims.run(job | held)

    def kill(self, victim: str, folder: Path) -> None:
        """Ends it for certain; a node comes in the place of one that died, and the S3 server comes back."""
        ends = {
            "worker": self._worker,
            "worker_cut_off": self._worker_cut_off,
            "driver": self._driver,
            "node": self._node,
            "server": self._server,
        }
        ends[victim](folder)

    def _worker(self, folder: Path) -> None:
        held, workers = _pid(folder / HELD), self.workers()
        os.kill(held if held in workers else workers[0], signal.SIGKILL)

    def _worker_cut_off(self, folder: Path) -> None:
        os.kill(_pid(folder / HELD), signal.SIGSTOP)

    def _driver(self, folder: Path) -> None:
        os.kill(_pid(folder / DRIVER), signal.SIGKILL)

    def _node(self, folder: Path) -> None:
        workers = self.workers()
        self.raylet.signal(signal.SIGKILL)
        wait_until(lambda: all(map(ended, workers)))
        self._grow()

    def _server(self, folder: Path) -> None:
        self.server.crash()
        (folder / GONE_ON).touch()
        time.sleep(DOWN)
        self.server.restart()

    def workers(self) -> list[int]:
        """Both training workers."""
        found = [child.pid for child in below(self.raylet.pid) if "RayTrainWorker" in " ".join(child.cmdline())]
        assert len(found) == 2, found
        return found

    def log(self) -> str:
        return self.victims.log.read_text()[-3000:]


def the_run(root: Store) -> Run:
    """The only one."""
    (name,) = {entry.key.split("/")[1] for entry in root.list("runs")}
    return Run(root, name)


def _pid(file: Path) -> int:
    return int(file.read_text())
