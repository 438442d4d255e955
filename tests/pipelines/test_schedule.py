"""`xmodal schedule`: a line that cron takes, manifests that the published schemas have nothing against, clear lines."""

import io
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from pipelines.__main__ import cli
from pipelines.every import WORDS, cron
from pipelines.schedule import KEPT
from tests.infra.manifests import OVERLAYS, Document, documents, faults, found, render
from tests.infra.test_kubernetes import test_every_pod_is_as_bare_as_the_restricted_standard_asks as check_bare
from tests.infra.test_kubernetes import test_no_secret_is_written_down as check_no_secret
from tests.pipelines.road import write_recipe, xmodal
from xmodal.settings import SettingsError

RAY_JOB, CRON_JOB = 47, 52
"""Characters that KubeRay and Kubernetes allow in a name."""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    model = {"register_as": "traps"}
    return write_recipe(Path("my.yaml"), "s3://archive/survey", "s3://work/root", tracking=model).name


def scheduled(*words: str) -> dict[str, Document]:
    """What is printed for Kubernetes by kind, with the job and the recipe that stand inside as kinds of their own."""
    ended = xmodal("schedule", *words, "--every", "week", "--target", "kubernetes")
    assert ended.code == 0, ended.err
    parts = {one["kind"]: one for one in documents(ended.out)}
    (parts["RayJob"],) = documents(parts["ConfigMap"]["data"]["job.yaml"])
    (parts["recipe"],) = documents(parts["ConfigMap"]["data"]["recipe.yaml"])
    return parts


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_what_is_printed_is_valid_and_names_itself(
    recipe: str, overlay: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the nodes that come with xmodal, from a cluster that stays and from a job's, on stdin."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(render(overlay) if overlay else ""))
    parts = scheduled(recipe, *(["--cluster", "-"] if overlay else []))
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "CronJob", "RayJob", "recipe"}
    assert parts.keys() == kinds
    written = parts.pop("recipe")
    for one in parts.values():
        assert faults(one) == [], one["kind"]
        check_no_secret(one["kind"], one)
        assert one["metadata"]["namespace"] == "xmodal"
    check_bare("RayJob", parts["RayJob"])
    assert {one["metadata"].get("name", "retrain-tiny") for one in parts.values()} == {"retrain-tiny"}
    assert written["compute"]["ray_address"] == "auto" and written["compute"]["autoscaled"] is True
    images = set(found(parts["RayJob"], "image"))
    assert images == {"registry.example.org/xmodal:0.1.0" if overlay else "xmodal"}
    queued = "kueue.x-k8s.io/queue-name" in parts["RayJob"]["metadata"]["labels"]
    assert queued == (overlay != "small")


def test_the_job_retrains_by_the_recipe_that_is_mounted_on_its_head_alone(recipe: str) -> None:
    spec = scheduled(recipe, "train.seed=7")["RayJob"]["spec"]
    words = shlex.split(spec["entrypoint"])
    assert words == ["xmodal", "retrain", "/etc/xmodal/recipe.yaml", "--kept-is-success"]
    head, *workers = [
        group["template"]["spec"]
        for group in [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    ]
    assert [one["mountPath"] for one in head["containers"][0]["volumeMounts"]].count("/etc/xmodal") == 1
    assert {"name": "retrain-tiny", "items": [{"key": "recipe.yaml", "path": "recipe.yaml"}]} in [
        volume.get("configMap") for volume in head["volumes"]
    ]
    assert workers and all("/etc/xmodal" not in str(pod) for pod in workers)


def test_the_recipe_goes_along_as_it_resolves(recipe: str, tmp_path: Path) -> None:
    parts = scheduled(recipe, "train.seed=7", "compute.ray_address=ray.example:6379")
    (tmp_path / "again.yaml").write_text(parts["ConfigMap"]["data"]["recipe.yaml"])
    shown = [xmodal("show", *words).out for words in (["again.yaml"], [recipe, "train.seed=7"])]
    fingerprints = [re.findall(r"fingerprint (\w+)", text) for text in shown]
    assert fingerprints[0] == fingerprints[1] and len(fingerprints[0]) == 1
    assert "autoscaled" not in parts["recipe"]["compute"], "a cluster of one's own is left as it is"


def test_what_the_recipe_says_of_nodes_stays(recipe: str) -> None:
    compute = scheduled(recipe, "compute.start_timeout=333")["recipe"]["compute"]
    assert compute["start_timeout"] == 333 and compute["ray_address"] == "auto" and compute["autoscaled"] is True


def test_the_schedule_forbids_overlaps_leaves_out_what_it_missed_and_may_do_one_thing(recipe: str) -> None:
    parts = scheduled(recipe)
    spec = parts["CronJob"]["spec"]
    assert spec["schedule"] == "0 3 * * 1" and spec["concurrencyPolicy"] == "Forbid"
    assert {"startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= spec.keys()
    assert parts["Role"]["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]}]
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert (
        pod["serviceAccountName"]
        == parts["ServiceAccount"]["metadata"]["name"]
        == parts["RoleBinding"]["subjects"][0]["name"]
    )
    assert pod["volumes"][0]["configMap"]["name"] == parts["ConfigMap"]["metadata"]["name"]


@pytest.mark.parametrize("name", ["a", "a" * 41, "a" * 40 + "-", "ab-" * 13])
def test_names_stay_within_limits(recipe: str, name: str) -> None:
    parts = scheduled(recipe, f"name={name}")
    made = parts["RayJob"]["metadata"]["generateName"] + "abcde"
    assert len(made) <= RAY_JOB and len(parts["CronJob"]["metadata"]["name"]) <= CRON_JOB
    for one in (made, parts["CronJob"]["metadata"]["name"]):
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", one)


def test_long_names_that_begin_alike_differ(recipe: str) -> None:
    names = {scheduled(recipe, f"name={'a' * 40}{last}")["CronJob"]["metadata"]["name"] for last in "bc"}
    assert len(names) == 2


def test_a_line_for_cron_runs_here(recipe: str, tmp_path: Path) -> None:
    ended = xmodal("schedule", recipe, "description=50% of it", "--every", "day", "--target", "cron")
    assert ended.code == 0 and ended.out.count("\n") == 1 and "AWS_*" in ended.err
    assert ended.out.startswith("0 3 * * * ") and "50\\%" in ended.out
    command = ended.out.removeprefix("0 3 * * * ").replace("\\%", "%")
    change, folder, both, program, *words = shlex.split(command)
    assert (change, folder, both) == ("cd", str(tmp_path), "&&") and os.access(program, os.X_OK)
    assert words == ["retrain", recipe, "description=50% of it", "--kept-is-success"]


def test_the_verb_that_is_scheduled_takes_its_option() -> None:
    assert KEPT in {name for one in cli.commands["retrain"].params for name in one.opts}


@pytest.mark.parametrize("text", [*WORDS.values(), "*/15 0-6 1,15 jan-mar mon", "0 3 * * MON,fri", "5-50/5 * * * *"])
def test_an_expression_stays_as_it_is(text: str) -> None:
    assert cron(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weeek", "did you mean week?"),
        ("fortnight", "allowed are hour, day, week, month"),
        ("0 3 * *", "4 fields; a cron expression has five: minute, hour"),
        ("60 3 * * 1", "'60' is no minute; allowed: *, 0 to 59"),
        ("0 24 * * 1", "'24' is no hour"),
        ("0 3 0 * 1", "'0' is no day of month"),
        ("0 3 * 13 1", "'13' is no month; allowed: *, 1 to 12 or jan to dec"),
        ("0 3 * * 7", "'7' is no day of week; allowed: *, 0 to 6 or sun to sat"),
        ("0 3 * * fri-mon", "'fri-mon' is no day of week"),
        ("*/0 3 * * 1", "'*/0' is no minute"),
        ("5/10 3 * * 1", "'5/10' is no minute"),
        ("0 3 * * 1,", "'' is no day of week"),
        ("-1 3 * * 1", "'-1' is no minute"),
    ],
)
def test_what_is_no_schedule_is_one_line(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^--every {re.escape(text)}: ") as caught:
        cron(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compute.root=here/root"], "compute.root: here/root is a folder of this machine"),
        (["data.surveys.0.archive=here"], "data.surveys.0.archive: here is a folder of this machine"),
        (["tracking.uri=http://me:hidden@mlflow:5000"], "tracking.uri: this address holds a user name or a password"),
        (["--cluster", "nowhere.yaml"], "--cluster nowhere.yaml: cannot read it"),
        (["--cluster", "my.yaml"], "--cluster: 0 RayClusters and RayJobs there"),
        (["train.sed=1"], "did you mean train.seed?"),
    ],
)
def test_a_mistake_is_one_line_and_prints_nothing(recipe: str, words: list[str], said: str) -> None:
    ended = xmodal("schedule", recipe, *words, "--every", "day", "--target", "kubernetes")
    assert ended.code == 2 and said in ended.err and ended.out == "" and "hidden" not in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("target", ["cron", "kubernetes"])
def test_a_recipe_that_retrain_would_refuse_is_refused_now(recipe: str, target: str) -> None:
    ended = xmodal("schedule", recipe, "tracking.register_as=null", "--every", "week", "--target", target)
    assert ended.code == 2 and ended.out == ""
    assert "tracking.register_as: retrain needs the name of the registered model" in ended.line
