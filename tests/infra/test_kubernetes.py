"""The manifests and every rendered overlay: valid by the published schemas, bare, without a secret, token on."""

import copy
import json
import re
from typing import Any

import pytest

from infra.jobs import is_secret
from tests.conftest import REPOSITORY
from tests.infra.manifests import FOLDER, OVERLAYS, Document, every, faults, found, pods, rendered, templates

EVERY = list(every())
KINDS = sorted({document["kind"] for _, document in EVERY})
DOCUMENTS = pytest.mark.parametrize(("name", "document"), EVERY, ids=[name for name, _ in EVERY])


@DOCUMENTS
def test_the_published_schemas_have_nothing_against_it(name: str, document: Document) -> None:
    assert faults(document) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_typo_is_named(kind: str) -> None:
    """In the innermost mappings of each kind, at most ten of them: else the test above could not fail."""
    document = next(one for _, one in EVERY if one["kind"] == kind)
    for path in deepest(document)[:10]:
        planted = copy.deepcopy(document)
        within(planted, path)["typoo"] = 1
        assert any("typoo" in fault for fault in faults(planted)), path


def deepest(document: Document) -> list[tuple[Any, ...]]:
    """Paths of mappings whose names the schema fixes: not those of labels, limits and the like, nor beneath."""
    free = {"metadata", "data", "labels", "annotations", "matchLabels", "limits", "requests", "rayStartParams"}
    found = [()] if document["kind"] == "ConfigMap" else list[tuple[Any, ...]]()

    def look(node: Any, path: tuple[Any, ...]) -> None:
        if isinstance(node, dict) and path and path[-1] != "spec":
            found.append(path)
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for name, one in items:
            if name not in free and isinstance(one, dict | list):
                look(one, (*path, name))

    look(document, ())
    return sorted(found, key=lambda path: -len(path)) or [()]


def within(node: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        node = node[part]
    return node


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_a_wrong_type_is_named(kind: str) -> None:
    document = copy.deepcopy(next(one for name, one in EVERY if one["kind"] == kind and ":" in name))
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    spec["workerGroupSpecs"][0]["minReplicas"] = "none"
    assert any("minReplicas: 'none' is not of type 'integer'" in fault for fault in faults(document))


@DOCUMENTS
def test_every_pod_is_as_bare_as_the_restricted_standard_asks(name: str, document: Document) -> None:
    """Kubernetes' Pod Security Standards, and a root file system that nobody writes and no token of the API server."""
    for pod in pods(document):
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"} and pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is (document["kind"] == "CronJob"), "it alone asks the API server"
        user = pod["securityContext"]
        assert user["runAsNonRoot"] and user["runAsUser"] > 0 and user["seccompProfile"] == {"type": "RuntimeDefault"}
        allowed = {"emptyDir", "configMap", "projected"}
        assert all(volume.keys() - {"name"} <= allowed for volume in pod.get("volumes", []))
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            bare(container)
    for options in found(document, "autoscalerOptions"):
        bare(options)


def bare(container: Document) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"].keys() == {"requests", "limits"}


@DOCUMENTS
def test_no_secret_is_written_down(name: str, document: Document) -> None:
    assert document["kind"] != "Secret"
    for variable in (one for listed in found(document, "env") for one in listed):
        assert not is_secret(variable["name"]) or "value" not in variable, variable["name"]
    text = json.dumps(document)
    assert not re.search(r"://[^/\s\"]*:[^/\s\"]*@", text), "an address with a password"
    assert not re.search(r"\b[0-9a-f]{32,}\b|\bAKIA[0-9A-Z]{16}\b", text), "what looks like a key"
    if document["kind"] == "ConfigMap":
        assert not [key for key in document["data"] if is_secret(key)]
        assert not re.search(r"(?im)^\s*\w*(password|secret|token)\w*\s*=\s*\S", "\n".join(document["data"].values()))


def test_a_secret_that_is_written_down_is_found() -> None:
    """Else the test above could not fail."""
    for planted in (
        {"kind": "Secret"},
        {"kind": "Deployment", "env": [{"name": "PGPASSWORD", "value": "x"}]},
        {"kind": "Deployment", "args": ["postgresql://mlflow:x@host/mlflow"]},
        {"kind": "ConfigMap", "data": {"basic_auth.ini": "[mlflow]\nadmin_password = x"}},
        {"kind": "ConfigMap", "data": {"AWS_SECRET_ACCESS_KEY": "x"}},
        {"kind": "ConfigMap", "data": {"any": "0123456789abcdef0123456789abcdef"}},
    ):
        with pytest.raises(AssertionError):
            test_no_secret_is_written_down("planted", planted)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_guide_makes_every_secret_that_a_pod_asks_for(overlay: str) -> None:
    page = (REPOSITORY / "docs/cluster.md").read_text()
    asked = {one["name"] for document in rendered(overlay) for one in found(document, "secretRef")} | {"xmodal-ray"}
    assert asked == {name for name in asked if f"create secret generic {name} " in page}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ray_asks_for_the_token(overlay: str) -> None:
    (spec,) = clusters(overlay)
    assert spec["authOptions"] == {"mode": "token", "secretName": "xmodal-ray"} and spec["rayVersion"] >= "2.60"
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    containers = [one for group in groups for one in group["template"]["spec"]["containers"]]
    assert all({"name": "RAY_AUTH_MODE", "value": "token"} in container["env"] for container in containers)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_groups_begin_at_none_and_spot_nodes_are_welcome(overlay: str) -> None:
    (spec,) = clusters(overlay)
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert groups.keys() == ({"data"} if overlay == "small" else {"data", "gpu"}) and spec["enableInTreeAutoscaling"]
    assert all(group["minReplicas"] == 0 < group["maxReplicas"] for group in groups.values())
    if "gpu" in groups:
        pod = groups["gpu"]["template"]["spec"]
        assert any("spot" in one["key"] for one in pod["tolerations"])
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert "nvidia.com/gpu" not in json.dumps(groups["data"])


def clusters(overlay: str) -> list[Document]:
    """Specs of the clusters that the overlay makes: exactly one, which stays, or comes and goes with a job."""
    documents = rendered(overlay)
    standing = [one["spec"] for one in documents if one["kind"] == "RayCluster"]
    return standing + [one["spec"]["rayClusterSpec"] for one in documents if one["kind"] == "RayJob"]


def test_what_queues_is_labelled() -> None:
    """Kueue refuses a cluster with an autoscaler that is not annotated as elastic."""
    (cluster,) = [one for one in rendered("gpu") if one["kind"] == "RayCluster"]
    (job,) = [one for one in rendered("job") if one["kind"] == "RayJob"]
    for one in (cluster, job):
        assert one["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "xmodal"
        assert one["metadata"]["annotations"]["kueue.x-k8s.io/elastic-job"] == "true"


def test_a_job_ends_and_takes_its_cluster_with_it() -> None:
    (job,) = [one["spec"] for one in rendered("job") if one["kind"] == "RayJob"]
    (cluster,) = [one["spec"] for one in rendered("gpu") if one["kind"] == "RayCluster"]
    assert job["rayClusterSpec"] == cluster
    assert job["shutdownAfterJobFinishes"] and job["backoffLimit"] == 1 and job["submitterConfig"]["backoffLimit"] == 2
    assert job["preRunningDeadlineSeconds"] < job["activeDeadlineSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_reached_but_by_a_policy_of_its_own(overlay: str) -> None:
    documents = rendered(overlay)
    policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    chosen = {one["podSelector"].get("matchLabels", {}).get("xmodal/part") for one in policies}
    assert {template["metadata"]["labels"]["xmodal/part"] for template in templates(documents)} <= chosen
    metadata = [one for policy in policies for rule in policy.get("egress", []) for one in rule.get("to", [])]
    assert all("169.254.169.254/32" in one["ipBlock"]["except"] for one in metadata if "ipBlock" in one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_named_once(overlay: str) -> None:
    ours = {image for document in rendered(overlay) for image in found(document, "image")} - {"postgres:17"}
    assert ours == {"registry.example.org/xmodal:0.1.0"}


@pytest.mark.parametrize("overlay", ["small", "gpu"])
def test_few_fields_are_to_be_filled_in(overlay: str) -> None:
    text = (FOLDER / "overlays" / overlay / "kustomization.yaml").read_text()
    assert 3 <= text.count("FILL IN") <= 7 and "example" not in re.sub(r".*FILL IN.*", "", text)


def test_the_archive_is_read_and_only_the_root_is_written() -> None:
    archive, work = (
        json.loads((REPOSITORY / f"infra/policies/{name}.json").read_text()) for name in ("archive", "work")
    )
    assert actions(archive) == {"s3:ListBucket", "s3:GetObject"}
    written = {"s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"}
    assert actions(work) == actions(archive) | written | {"s3:ListBucketMultipartUploads"}
    for statement in work["Statement"]:
        if written & set(statement["Action"]):
            assert statement["Resource"] == ["arn:aws:s3:::xmodal-work/root/*"]
    for statement in archive["Statement"] + work["Statement"]:
        assert (
            statement["Effect"] == "Allow"
            and "*" not in "".join(statement["Action"])
            and "*" not in statement["Resource"]
        )


def actions(policy: Document) -> set[str]:
    return {action for statement in policy["Statement"] for action in statement["Action"]}
