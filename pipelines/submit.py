"""`xmodal submit`: a verb as a cluster job, in the same words as on a laptop."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from infra.jobs import JobRefused, follow_job, job_log, job_state, submit_job
from infra.storage import Unreachable

SENT = ("AWS_ENDPOINT_URL", "AWS_REGION", "MLFLOW_TRACKING_URI")
"""Addresses the job is given where the submitter has them; credentials stay with the cluster's nodes."""
LEFT_BEHIND = (".git", ".venv", ".xmodal", "**/__pycache__", ".pytest_cache", ".ruff_cache")


def submit(verb: str, arguments: tuple[str, ...], address: str, submission_id: str | None, wait: bool) -> int:
    """Submits `python -m pipelines VERB ARGUMENTS` with this folder as working directory; returns the exit code.

    Without `wait` the code only says that the cluster took the job; with it, it is the job's. Raises JobRefused,
    Unreachable.
    """
    _quiet()
    environment = {name: _without_password(name, os.environ[name]) for name in SENT if name in os.environ}
    command = ["python", "-m", "pipelines", verb, *arguments]
    job = submit_job(
        address,
        command,
        working_dir=str(Path.cwd()),
        environment=environment,
        submission_id=submission_id,
        excludes=LEFT_BEHIND,
    )
    print(job)
    if not wait:
        print(f"next: xmodal submit logs {job} --wait --address {address}", file=sys.stderr)
        return 0
    return _followed(address, job, sys.stderr)


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


LOOKS: dict[str, Callable[[str, str, bool], int]] = {"status": status, "logs": logs}
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


def _without_password(name: str, address: str) -> str:
    """`address`, where it holds no password: what a job is sent can be read by all who may list jobs."""
    if urlsplit(address).password:
        raise JobRefused(f"{name}: holds a password, and job environments are read in clear text; set it on the nodes")
    return address
