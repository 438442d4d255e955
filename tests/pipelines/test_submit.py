"""`xmodal submit` against a real Ray head with token authentication, MLflow behind passwords, and S3."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

import pytest

from infra.gauges import SHOWN
from infra.storage import open_store
from pipelines.train.runs import Run, run_names
from tests.conftest import BUCKET
from tests.infra.guarded_mlflow import guarded_mlflow
from tests.infra.ray_head import Head, ray_head
from tests.pipelines.road import prepared, write_recipe, xmodal
from tests.pipelines.secret_plants import Secrets, found, left

pytestmark = [pytest.mark.ray, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]

PLANTED = "planted-and-never-to-be-sent"


@pytest.fixture(scope="module")
def kept(s3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secrets]:
    with guarded_mlflow(tmp_path_factory.mktemp("guarded")) as mlflow:
        yield Secrets(s3.environment(), mlflow)


@pytest.fixture(scope="module")
def head(kept: Secrets) -> Iterator[Head]:
    with ray_head(kept.nodes) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory that holds a recipe and nothing else."""
    made = tmp_path / "folder"
    made.mkdir()
    write_recipe(made / "tiny.yaml", "archive", str(tmp_path / "root"))
    return made


def one_line(ended: subprocess.CompletedProcess[str]) -> str:
    """The line in which a user's mistake ends; it shows no secret."""
    assert ended.returncode in (1, 2) and ended.stderr.startswith("xmodal: ") and ended.stderr.count("\n") == 1, ended
    assert PLANTED not in ended.stdout + ended.stderr
    return ended.stderr


def test_a_verb_runs_as_a_job_and_one_id_is_one_job(head: Head, folder: Path) -> None:
    name = f"show-{secrets.token_hex(4)}"
    words = ("--id", name, "--wait", "--env", "FLAVOUR=1", "show", "tiny.yaml", "train.seed=5")
    endpoint = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    ended = head.submit(folder, *words, **endpoint)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == name and "# fingerprint" in ended.stderr and "seed: 5" in ended.stderr
    sent = json.loads(head.get(f"/api/jobs/{name}"))["runtime_env"]["env_vars"]
    assert sent == endpoint | {"FLAVOUR": "1"}, "what is allowed or asked for, and nothing else of the environment"
    told = head.submit(folder, "status", name)
    assert told.returncode == 0 and told.stdout.startswith(f"{name}  SUCCEEDED"), told.stderr
    written = head.submit(folder, "logs", name)
    assert written.returncode == 0 and "# fingerprint" in written.stdout and "seed: 5" in written.stdout
    again = head.submit(folder, *words, **endpoint)
    assert (again.returncode, again.stdout) == (0, ended.stdout) and "seed: 5" in again.stderr
    jobs = json.loads(head.get("/api/jobs/"))
    assert [job["submission_id"] for job in jobs].count(name) == 1
    other = head.submit(folder, "--id", name, "show", "tiny.yaml")
    assert f"job {name} exists with another command (python -m pipelines show tiny.yaml train.seed=5)" in one_line(
        other
    )


def test_a_failing_verb_ends_the_command_with_its_code(head: Head, folder: Path) -> None:
    """10, not found; for whoever looks later, too. What would be lost with the job is refused there."""
    ended = head.submit(folder, "--wait", "check", "nothing-of-that-name", "--root", str(folder))
    assert ended.returncode == 10 and "nothing-of-that-name: no checkpoint there" in ended.stderr
    followed = head.submit(folder, "logs", ended.stdout.strip(), "--wait")
    assert followed.returncode == 10 and "nothing-of-that-name: no checkpoint there" in followed.stdout
    told = head.submit(folder, "status", ended.stdout.strip())
    assert told.returncode == 0 and "FAILED" in told.stdout
    lost = head.submit(folder, "--wait", "check", "tiny")
    assert lost.returncode == 2 and "would go with the folder of this job" in lost.stderr


def test_a_job_is_stopped(head: Head, folder: Path) -> None:
    """One that would take ten minutes: code of the folder goes before the installed one."""
    (folder / "slow.py").write_text("import time; print('begun', flush=True); time.sleep(600)\n")
    package = folder / "pipelines"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import slow\n")
    name = head.submit(folder, "check", "tiny").stdout.strip()
    while "begun" not in head.submit(folder, "logs", name).stdout:
        time.sleep(0.5)
    ended = head.submit(folder, "stop", name, "--wait")
    assert ended.returncode == 0 and ended.stdout.startswith(f"{name}  STOPPED"), ended.stderr
    again = head.submit(folder, "stop", name)
    assert again.returncode == 0 and again.stdout.startswith(f"{name}  STOPPED")
    assert head.submit(folder, "status", name, "--wait").returncode == 1


@pytest.mark.parametrize("look", [["status"], ["logs", "--wait"], ["stop"]], ids=" ".join)
def test_a_job_that_the_cluster_does_not_know(head: Head, folder: Path, look: list[str]) -> None:
    ended = head.submit(folder, look[0], "nobodys-job", *look[1:])
    assert ended.returncode == 10 and ended.stderr.count("\n") == 1 and "no job nobodys-job there" in ended.stderr


def test_without_the_token_nothing_is_answered(head: Head, folder: Path) -> None:
    for path in ("/api/jobs/", "/api/v0/jobs", "/nodes?view=summary", "/api/packages/gcs/x.zip"):
        assert (head.status(path, ""), head.status(path, "ab" * 32)) == (401, 403), path
    assert head.status("/api/jobs/", head.token) == 200
    told = one_line(head.submit(folder, "status", "some-job", RAY_AUTH_TOKEN="ab" * 32))
    assert f"{head.address}: refuses the token; set RAY_AUTH_TOKEN" in told


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (
            ["--env", f"SOME_PASSWORD={PLANTED}", "show", "tiny.yaml"],
            {},
            "SOME_PASSWORD: job environments are readable",
        ),
        (
            ["--env", "WANDB_API_KEY", "show", "tiny.yaml"],
            {"WANDB_API_KEY": PLANTED},
            "WANDB_API_KEY: job environments",
        ),
        (["--env", f"A=http://me:{PLANTED}@h", "show", "tiny.yaml"], {}, "A: holds an address with a user name"),
        (["--env", "MISSING", "show", "tiny.yaml"], {}, "--env MISSING: not set here"),
        (
            ["show", "tiny.yaml", f"name={PLANTED}"],
            {"SOME_TOKEN": PLANTED},
            "the command: holds the value of SOME_TOKEN",
        ),
        (
            ["show", "tiny.yaml", f"tracking.uri=http://{PLANTED}@h"],
            {},
            "the command: holds an address with a user name",
        ),
        (
            ["show", "tiny.yaml"],
            {"MLFLOW_TRACKING_URI": f"http://me:{PLANTED}@h"},
            "MLFLOW_TRACKING_URI: holds an addr",
        ),
        (["--runtime-env", "env.yaml", "show", "tiny.yaml"], {}, "env.yaml: env_vars is made here"),
    ],
)
def test_secrets_are_refused_by_name_before_anything_is_sent(
    folder: Path, words: list[str], variables: dict[str, str], said: str
) -> None:
    """Nobody listens at the address."""
    (folder / "env.yaml").write_text("env_vars: {A: b}\n")
    with chdir(folder), patch.dict(os.environ, variables):
        ended = xmodal("submit", "--address", "http://127.0.0.1:9", *words)
    assert ended.code in (1, 2) and said in ended.line and PLANTED not in ended.out + ended.err


def test_a_folder_that_is_too_large_is_refused_before_it_is_sent(head: Head, folder: Path) -> None:
    (folder / "frames").mkdir()
    for number in range(11):
        (folder / f"frames/{number}.bin").write_bytes(os.urandom(10 << 20))
    told = one_line(head.submit(folder, "show", "tiny.yaml"))
    assert "more than the 100 MiB that Ray's jobs API takes (largest: frames 115 MB, tiny.yaml 0 MB)" in told
    (folder / ".rayignore").write_text("frames\n")
    assert head.submit(folder, "--wait", "show", "tiny.yaml").returncode == 0


def test_a_runtime_environment_goes_with_it(head: Head, folder: Path) -> None:
    (folder / "module.py").write_text("")
    (folder / "env.yaml").write_text("config: {setup_timeout_seconds: 77}\n")
    ended = head.submit(folder, "--runtime-env", "env.yaml", "--wait", "show", "tiny.yaml")
    described = json.loads(head.get(f"/api/jobs/{ended.stdout.strip()}"))
    assert ended.returncode == 0 and described["runtime_env"]["config"]["setup_timeout_seconds"] == 77, ended.stderr


def test_training_as_a_job_uses_secrets_and_shows_none(
    head: Head, kept: Secrets, bucket_url: str, tmp_path: Path
) -> None:
    """train and evaluate, with S3 and MLflow behind passwords that stand on the nodes alone. The recipe names no
    cluster: a job joins the one that runs it. Each secret is found where it was planted, and nowhere else."""
    prepared(bucket_url)
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    write_recipe(folder / "tiny.yaml", f"{bucket_url}/archive", bucket_url)
    kept.plant(folder, elsewhere)
    places = kept.submitter | {"XMODAL_ROOT": bucket_url}
    name = f"train-{secrets.token_hex(4)}"
    words = ["--id", name, "--wait", "train", "tiny.yaml", "compute.workers=1", "train.epochs=12"]
    shown: dict[str, float] = {}
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(head.submit, folder, *words, **places)
        while not job.done():
            shown |= head.shown()
            time.sleep(0.5)
    said = [job.result()]
    assert said[0].returncode == 0 and "next: xmodal evaluate tiny-" in said[0].stderr, said[0].stderr
    losses = {f"xmodal_loss_value {task}" for task in ("total", "itc", "lm")}
    assert shown.keys() >= {name for name, _ in SHOWN.values()} | {"xmodal_samples_total"} | losses
    root = open_store(bucket_url)
    (run,) = run_names(root)
    assert Run(root, run).read("result.json") is not None
    said.append(head.submit(folder, "--wait", "evaluate", run, **places))
    assert said[1].returncode == 0 and "report: report.html" in said[1].stderr, said[1].stderr
    kept.leaky(folder)
    said += [head.submit(folder, "show", "tiny.yaml", **places), head.submit(folder, "logs", name, **places)]
    assert "leaky.yaml: holds an address with a user name or a password" in said[2].stderr
    planted, all_left = kept.all(head), left(head, kept.mlflow, root, said)
    assert len(planted) == 13 and len(found(planted, {"source": kept.sources(head, folder)})) == len(planted)
    for place, known in {"bucket": run, "mlflow": "report.html", "ray session": name, "job api": name,
                         "state api": name, "commands": run}.items():  # fmt: skip
        assert known in all_left[place], f"{place}: or this test proves nothing"
    assert found(planted, all_left) == []
    assert f"s3://{BUCKET}" in bucket_url and len(list(root.list("runs"))) > 10
