"""`xmodal submit`: a verb as a cluster job, in the same words as on a laptop."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from infra.jobs import ended_job, follow_job, job_log, job_state, stop_job, submit_job
from infra.storage import Unreachable
from xmodal.settings import SettingsError, read_yaml

SENT = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "MLFLOW_TRACKING_URI", "XMODAL_ROOT",
)  # fmt: skip
"""Addresses the job is given where the submitter has them; credentials stay with the cluster's nodes."""
LEFT_BEHIND = (".git", ".venv", ".xmodal", "**/__pycache__", ".pytest_cache", ".ruff_cache")
OURS = ("working_dir", "excludes", "env_vars")
"""Parts of Ray's runtime environment that are made here."""


def submit(
    verb: str,
    arguments: tuple[str, ...],
    address: str,
    submission_id: str | None,
    wait: bool,
    variables: Sequence[str] = (),
    runtime_env: Path | None = None,
) -> int:
    """Submits `python -m pipelines VERB ARGUMENTS` with this folder as working directory; returns the exit code.

    `variables` are NAME=VALUE, or NAME alone for the value here. `runtime_env` is a YAML file of Ray's further fields.
    Without `wait` the code only says that the cluster took the job; with it, it is the job's. Raises JobRefused,
    Unreachable, SettingsError.
    """
    _quiet()
    job = submit_job(
        address,
        ["python", "-m", "pipelines", verb, *arguments],
        working_dir=str(Path.cwd()),
        environment={name: os.environ[name] for name in SENT if name in os.environ} | _given(variables),
        submission_id=submission_id,
        excludes=LEFT_BEHIND,
        runtime_env=_runtime_env(runtime_env) if runtime_env else None,
    )
    print(job)
    if not wait:
        print(f"next: xmodal submit logs {job} --wait --address {address}", file=sys.stderr)
        return 0
    return _followed(address, job, sys.stderr)


def _given(variables: Sequence[str]) -> dict[str, str]:
    given = {}
    for word in variables:
        name, equals, value = word.partition("=")
        if not equals and name not in os.environ:
            raise SettingsError(f"--env {name}: not set here; give --env {name}=VALUE")
        given[name] = value if equals else os.environ[name]
    return given


def _runtime_env(path: Path) -> dict[str, Any]:
    found = read_yaml(path)
    if own := next((name for name in OURS if name in found), None):
        raise SettingsError(f"{path}: {own} is made here: of this folder, of .rayignore and of --env")
    return found


def status(job: str, address: str, wait: bool) -> int:
    """Prints how a job stands, or with `wait` how it ended, and returns 0; then its exit code. Raises NoSuchJob."""
    _quiet()
    code = _followed(address, job, sys.stderr) if wait else 0
    state = job_state(address, job)
    print(f"{job}  {state.status}  {state.message}".rstrip())
    return code


def logs(job: str, address: str, wait: bool) -> int:
    """Prints what a job has written and returns 0; with `wait` all it writes until it ends, and its exit code."""
    _quiet()
    if wait:
        return _followed(address, job, sys.stdout)
    print(job_log(address, job), end="")
    return 0


def stop(job: str, address: str, wait: bool) -> int:
    """Ends a job; prints how it stands, or with `wait` how it ended, and returns 0. Raises NoSuchJob."""
    _quiet()
    stop_job(address, job)
    state = ended_job(address, job) if wait else job_state(address, job)
    print(f"{job}  {state.status}  {state.message}".rstrip())
    return 0


LOOKS: dict[str, Callable[[str, str, bool], int]] = {"status": status, "logs": logs, "stop": stop}
"""What may stand in the place of a verb, before the id of a job that was submitted."""


def _followed(address: str, job: str, out: TextIO) -> int:
    """The exit code of a job whose log is copied to `out`. Who stops looking does not stop the job."""
    try:
        state = follow_job(address, job, out)
    except (KeyboardInterrupt, Unreachable):
        print(f"the job goes on; next: xmodal submit logs {job} --wait --address {address}", file=sys.stderr)
        raise
    assert state.exit_code is not None
    return state.exit_code


def _quiet() -> None:
    """Ray's client writes a line for each package that it sends."""
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)
