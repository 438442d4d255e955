"""`xmodal submit`: a verb as a cluster job, in the same words as on a laptop."""

import logging
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from infra.jobs import JobRefused, follow_job, submit_job

SENT = ("AWS_ENDPOINT_URL", "AWS_REGION", "MLFLOW_TRACKING_URI")
"""Addresses the job is given where the submitter has them; credentials stay with the cluster's nodes."""
LEFT_BEHIND = (".git", ".venv", ".xmodal", "**/__pycache__", ".pytest_cache", ".ruff_cache")


def submit(verb: str, arguments: tuple[str, ...], address: str, submission_id: str | None, wait: bool) -> int:
    """Submits `python -m pipelines VERB ARGUMENTS` with this folder as working directory; returns the exit code.

    Without `wait` the code only says that the cluster took the job. Raises infra.jobs.JobRefused.
    """
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)  # else a line for each package
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
        print(f"follow it with: ray job logs --address {address} --follow {job}", file=sys.stderr)
        return 0
    return 0 if follow_job(address, job) else 1


def _without_password(name: str, address: str) -> str:
    """`address`, where it holds no password: what a job is sent can be read by all who may list jobs."""
    if urlsplit(address).password:
        raise JobRefused(f"{name}: holds a password, and job environments are read in clear text; set it on the nodes")
    return address
