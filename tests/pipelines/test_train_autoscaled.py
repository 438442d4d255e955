"""A cluster that has its head alone until nodes are asked for: Ray's own autoscaler, whose nodes are raylets here."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.storage import open_store
from pipelines.train.runs import Run, run_names
from tests.conftest import REPOSITORY
from tests.pipelines.nodes import Cluster
from tests.pipelines.road import prepared, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

DEADLINE = 300.0
MOST = 2
"""Nodes of each kind."""
UNUSED: dict[str, Any] = {"auth": {}, "docker": {}, "file_mounts": {}} | {
    name: [] for name in ("cluster_synced_files", "worker_setup_commands", "worker_start_ray_commands")
}
"""What Ray's autoscaler reads of every cluster, and nodes that are processes have no use for."""
KINDS = {"worker": {"CPU": 3}, "gpu": {"CPU": 1, "GPU": 1}}


class Autoscaled(Cluster):
    """A head of no CPU, to which nodes come and from which they go again."""

    def __init__(self) -> None:
        own = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        super().__init__(cpus=0, environment=own)

    def _head(self) -> list[str]:
        file = self.directory / "autoscaling.json"
        file.write_text(json.dumps(self._scaling()))
        return [*self._own(), f"--autoscaling-config={file}"]

    def _scaling(self) -> dict[str, Any]:
        memory = {"object_store_memory": 96 << 20}
        kinds = {
            name: {"resources": one | memory, "node_config": {}, "min_workers": 0, "max_workers": MOST}
            for name, one in KINDS.items()
        }
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        own_nodes = {"use_node_id_as_ip": True, "disable_node_updaters": True, "disable_launch_config_check": True}
        return {
            "cluster_name": "xmodal",
            "max_workers": MOST * len(KINDS),
            "provider": {"type": "fake_multinode", "gcs_address": self.address} | own_nodes,
            "available_node_types": kinds | {"ray.head.default": head},
            "head_node_type": "ray.head.default",
            "idle_timeout_minutes": 10,
            "upscaling_speed": 10.0,
        } | UNUSED


@pytest.fixture(scope="module")
def cluster() -> Iterator[Autoscaled]:
    with Autoscaled() as made:
        yield made


def run(command: list[str], cluster: Autoscaled) -> subprocess.CompletedProcess[str]:
    environment = cluster.environment
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


GROUP = """
import sys
import ray
from ray.util.placement_group import placement_group
from infra.cluster import ClusterTooSmall, connect

try:
    with connect(sys.argv[1], 2, gpus=2):
        raise AssertionError("the block must not run")
except ClusterTooSmall as error:
    print(error)
with connect(sys.argv[1], 2, gpus=2, grows=True):
    ray.get(placement_group([{"CPU": 1, "GPU": 1}] * 2).ready())
    print("GPUs", ray.cluster_resources()["GPU"])
"""


def test_a_group_that_holds_gpus_brings_their_nodes(cluster: Autoscaled) -> None:
    """A real GPU is not needed to hold one."""
    command = [sys.executable, "-c", GROUP, cluster.address]
    ended = run(command, cluster)
    refused, came = ended.stdout.splitlines()
    assert "hold 2 GPUs, but the Ray cluster has 0" in refused and "compute.autoscaled=true" in refused
    assert came == "GPUs 2.0", ended.stderr


def test_a_group_is_scaled_from_zero(cluster: Autoscaled, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    prepared(root)
    compute = {"ray_address": cluster.address, "workers": 1, "cpus_per_worker": 2, "start_timeout": 300}
    path = write_recipe(tmp_path / "tiny.yaml", f"{root}/archive", root, compute=compute)
    command = [sys.executable, "-m", "pipelines", "train", str(path)]

    def trained(*more: str) -> subprocess.CompletedProcess[str]:
        return run([*command, *more], cluster)

    refused = trained()
    assert refused.returncode == 1 and "hold 2 CPUs" in refused.stderr and "compute.autoscaled=true" in refused.stderr
    ended = trained("compute.autoscaled=true")
    assert ended.returncode == 0, ended.stderr
    store = open_store(root)
    (name,) = run_names(store)
    assert Run(store, name).read("result.json") is not None
