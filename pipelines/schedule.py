"""`xmodal schedule`: retraining by the clock, as a line for cron or as manifests for Kubernetes.

On Kubernetes a CronJob submits a RayJob: it forbids that two submissions overlap, leaves out what it missed and keeps a
short history, which KubeRay's own RayCronJob (alpha, off by default in 1.7) does not; there, ticks that were missed
would start one after the other. Two retrainings at once are kept apart by their lock, whoever began them.
"""

import hashlib
import io
import json
import shlex
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import LiteralScalarString

from infra.process import program
from pipelines.every import cron
from pipelines.recipe import Recipe, renewed_model, stated_recipe
from xmodal.settings import SettingsError, dump_yaml

KEPT = "--kept-is-success"
"""The gate kept the champion: no failure, or whoever watches the schedule would be woken for it."""
JOB_NAME = 41
"""Characters of a RayJob's name (47 at most) before the hyphen and five letters that make it the only one."""
MOUNTED = "/etc/xmodal"
ON_A_CLUSTER = {"ray_address": "auto", "autoscaled": True, "start_timeout": 900.0}
"""Where the recipe names no cluster: the one that runs the job, whose nodes come when they are asked for."""
Document = dict[str, Any]


def line(arguments: tuple[str, ...], every: str) -> str:
    """A line for this folder in a crontab. Raises SettingsError."""
    when = cron(every)
    renewed_model(stated_recipe(arguments))
    _tell("cron starts it without this shell's variables: set AWS_*, MLFLOW_* and XMODAL_ROOT at the crontab's top")
    command = shlex.join([program("xmodal") or "xmodal", "retrain", *arguments, KEPT])
    return f"{when} cd {shlex.quote(str(Path.cwd()))} && {command}".replace("%", r"\%")  # to cron a bare % is a newline


def manifests(arguments: tuple[str, ...], every: str, cluster: str | None) -> str:
    """What `kubectl apply -f -` takes: CronJob, RayJob and recipe, and the right to create RayJobs and nothing else.

    cluster: path of a file ("-" for stdin) with the RayCluster or RayJob that gives the nodes; without one, that of
    `infra/kubernetes/base`. Raises SettingsError.
    """
    when, recipe = cron(every), stated_recipe(arguments)
    renewed_model(recipe)
    _check_nothing_local(recipe)
    job = _job(_read(cluster), recipe.name)
    recipe = _joining(recipe)
    if cluster is None:
        _tell("the image is called `xmodal`; name yours: kubectl kustomize OVERLAY | xmodal schedule ... --cluster -")
    documents = _shipped("schedule/schedule.yaml")
    parts = {one["kind"]: one for one in documents}
    for one in documents:
        one["metadata"] |= {"name": _name(recipe.name), "namespace": job["metadata"]["namespace"]}
    _bind(parts["RoleBinding"])
    parts["ConfigMap"]["data"] = {"job.yaml": _text([job]), "recipe.yaml": LiteralScalarString(dump_yaml(recipe))}
    _submit(parts["CronJob"], when)
    return _text(documents)


def _joining(recipe: Recipe) -> Recipe:
    """The recipe, for a cluster that is there already: what it says of one itself stays."""
    compute = recipe.compute
    if compute.ray_address is not None:
        return recipe
    own = compute.model_fields_set - {"ray_address"}
    set_here = {name: value for name, value in ON_A_CLUSTER.items() if name not in own}
    _tell(f"compute in the scheduled recipe: {', '.join(f'{name}={value}' for name, value in set_here.items())}")
    return recipe.model_copy(update={"compute": compute.model_copy(update=set_here)})


def _job(documents: list[Document], recipe: str) -> Document:
    """The RayJob that retrains, on the nodes of the one RayJob or RayCluster among `documents`."""
    found = [one for one in documents if one.get("kind") in ("RayCluster", "RayJob")]
    if len(found) != 1:
        raise SettingsError(
            f"--cluster: {len(found)} RayClusters and RayJobs there; it takes what one overlay renders to"
        )
    (given,) = found
    (job,) = [given] if given["kind"] == "RayJob" else _shipped("job/job.yaml")
    if given["kind"] == "RayCluster":
        job["spec"]["rayClusterSpec"] = given["spec"]
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    job["spec"]["submitterPodTemplate"]["spec"]["containers"][0]["image"] = head["containers"][0]["image"]
    job["spec"]["entrypoint"] = f"xmodal retrain {MOUNTED}/recipe.yaml {KEPT}"
    item = {"key": "recipe.yaml", "path": "recipe.yaml"}
    head.setdefault("volumes", []).append({"name": "recipe", "configMap": {"name": _name(recipe), "items": [item]}})
    mount = {"name": "recipe", "mountPath": MOUNTED, "readOnly": True}
    head["containers"][0].setdefault("volumeMounts", []).append(mount)
    job["metadata"] = _metadata(given["metadata"], recipe)
    return job


def _metadata(given: Document, recipe: str) -> Document:
    """The RayJob's own: queue and namespace of what was given, a new name for each run."""
    labels = given.get("labels", {}) | {"xmodal/recipe": _name(recipe)}
    kept = {name: given[name] for name in ("annotations",) if name in given}
    return {"generateName": f"{_name(recipe)}-", "namespace": given.get("namespace", "xmodal"), "labels": labels} | kept


def _bind(binding: Document) -> None:
    named = binding["metadata"]
    binding["roleRef"]["name"] = named["name"]
    binding["subjects"][0] |= {"name": named["name"], "namespace": named["namespace"]}


def _submit(schedule: Document, when: str) -> None:
    schedule["spec"]["schedule"] = when
    pod = schedule["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod["serviceAccountName"] = pod["volumes"][0]["configMap"]["name"] = schedule["metadata"]["name"]


def _name(recipe: str) -> str:
    """A name that leaves room for a run's: of two long recipes with one beginning, the digests differ."""
    name = f"retrain-{recipe}".rstrip("-")
    if len(name) > JOB_NAME:
        name = f"{name[: JOB_NAME - 7].rstrip('-')}-{hashlib.sha256(recipe.encode()).hexdigest()[:6]}"
    return name


def _read(cluster: str | None) -> list[Document]:
    if cluster is None:
        return _shipped("base/cluster.yaml")
    try:
        text = sys.stdin.read() if cluster == "-" else Path(cluster).read_text()
        documents = _documents(text)
    except OSError as error:
        raise SettingsError(f"--cluster {cluster}: cannot read it ({error.strerror})") from None
    except (YAMLError, UnicodeDecodeError):
        raise SettingsError(f"--cluster {cluster}: not valid YAML") from None
    return [one for one in documents if isinstance(one, dict)]


def _shipped(path: str) -> list[Document]:
    return _documents((files("infra") / "kubernetes" / path).read_text())


def _documents(text: str) -> list[Document]:
    """What an alias names is a copy of its own here, so that one can be changed without the others."""
    return json.loads(json.dumps(list(YAML(typ="safe").load_all(text))))


def _text(documents: Iterable[Document]) -> str:
    """YAML whose inner files can be read as they stand."""
    out, yaml = io.StringIO(), YAML()
    yaml.width, yaml.representer.ignore_aliases = 4096, lambda *_: True  # pyright: ignore[reportAttributeAccessIssue]
    yaml.dump_all(list(documents), out)
    return LiteralScalarString(out.getvalue())


def _check_nothing_local(recipe: Recipe) -> None:
    """A folder is gone with the pod whose disk holds it."""
    places = {"compute.root": recipe.compute.root}
    places |= {f"data.surveys.{at}.archive": survey.archive for at, survey in enumerate(recipe.data.surveys)}
    for name, place in places.items():
        if place is not None and "://" not in place:
            raise SettingsError(f"{name}: {place} is a folder of this machine, which no pod has; give an s3:// address")


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
