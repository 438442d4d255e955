"""Work on a cluster through the Ray Jobs API.

Command and environment of a job are readable in clear text by anyone who may list jobs, so nothing that looks like a
secret is ever sent; the cluster's own nodes hold the credentials.
"""

import asyncio
import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException, Timeout

from infra.parcel import NotSent, pack
from infra.secrecy import has_login, is_secret, known
from infra.storage import Unreachable

NO_AGENT, EXISTS = "No available agent", "already exists"
"""Words of Ray's answers."""
AGENT_DEADLINE = 90.0
"""Seconds in which a young cluster's job agent registers; until then the API answers with a server error."""


class JobRefused(Exception):
    """The cluster answers and will not do it; the text is one line."""


class NoSuchJob(Exception):
    """The cluster knows no job of that id."""


@dataclass(frozen=True)
class JobState:
    """How a job stands: Ray's word for it, what Ray says beside it, and the exit code of one that has ended."""

    status: str  # PENDING | RUNNING | STOPPED | SUCCEEDED | FAILED
    message: str
    exit_code: int | None
    """0 of one that succeeded, its command's where that failed, 1 of one that was stopped or never ran; None before."""


def submit_job(
    address: str,
    command: Sequence[str],
    *,
    working_dir: str,
    environment: Mapping[str, str],
    submission_id: str | None = None,
    excludes: Sequence[str] = (),
    runtime_env: Mapping[str, Any] | None = None,
) -> str:
    """Submits `command` (one shell-quoted line is made of it) and returns the submission id.

    The id is the idempotency key: given twice with the same command it is one job, and the second call returns it as it
    stands. `runtime_env` is Ray's, beside working directory and variables. Raises JobRefused with one line for anything
    that looks like a secret, an id of another command or a working directory that is too large, Unreachable where
    nothing answers.
    """
    line = shlex.join(command)
    _check_open(line, environment, runtime_env or {})
    with tempfile.TemporaryDirectory() as folder:
        parcel = Path(folder) / "working_dir.zip"
        try:
            pack(Path(working_dir), parcel, excludes)
        except NotSent as error:
            raise JobRefused(str(error)) from None
        whole = {**(runtime_env or {}), "working_dir": str(parcel), "env_vars": dict(environment)}
        return _submitted(address, line, whole, submission_id)


def _check_open(line: str, environment: Mapping[str, str], runtime_env: Mapping[str, Any]) -> None:
    """Raises JobRefused where something that everybody may read looks like a secret. No value is shown."""
    readable = "job environments are readable in clear text, so secrets are not sent; set it on the nodes"
    if name := next((name for name in environment if is_secret(name)), None):
        raise JobRefused(f"{name}: {readable}")
    texts = {"the command": line, "the runtime environment": str(dict(runtime_env))} | dict(environment)
    for where, text in texts.items():
        if has_login(text):
            raise JobRefused(f"{where}: holds an address with a user name or password; {readable}")
        if name := next((name for value, name in known().items() if value in text), None):
            raise JobRefused(f"{where}: holds the value of {name}; {readable}")


def _submitted(address: str, line: str, runtime_env: dict[str, Any], submission_id: str | None) -> str:
    """Tries again while the job agent of a young cluster has not registered."""
    deadline = time.monotonic() + AGENT_DEADLINE
    while True:
        try:
            with _one_line_errors(address):
                return _client(address).submit_job(
                    entrypoint=line, runtime_env=runtime_env, submission_id=submission_id
                )
        except JobRefused as error:
            if submission_id and EXISTS in str(error):
                return _same_job(address, line, submission_id)
            if NO_AGENT not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)


def _same_job(address: str, line: str, submission_id: str) -> str:
    """The job of that id, where it runs the same command. Raises JobRefused."""
    with _one_line_errors(address, submission_id):
        found = _client(address).get_job_info(submission_id)
    if found.entrypoint != line:
        raise JobRefused(
            f"{address}: job {submission_id} exists with another command ({found.entrypoint}); give another id"
        )
    return submission_id


def job_state(address: str, submission_id: str) -> JobState:
    """How the job stands now. Raises NoSuchJob, JobRefused, Unreachable."""
    with _one_line_errors(address, submission_id):
        found = _client(address).get_job_info(submission_id)
    code = {"SUCCEEDED": 0, "FAILED": found.driver_exit_code or 1, "STOPPED": 1}.get(found.status.name)
    return JobState(found.status.name, _sentence(found.message or ""), code)


def job_log(address: str, submission_id: str) -> str:
    """What the job has written so far. Raises NoSuchJob, JobRefused, Unreachable."""
    with _one_line_errors(address, submission_id):
        return _client(address).get_job_logs(submission_id)


def stop_job(address: str, submission_id: str) -> None:
    """Asks the job to end; of one that has ended nothing is asked. Raises NoSuchJob, JobRefused, Unreachable."""
    with _one_line_errors(address, submission_id):
        _client(address).stop_job(submission_id)


def ended_job(address: str, submission_id: str) -> JobState:
    """How the job ended, once it has. Raises NoSuchJob, JobRefused, Unreachable."""
    while (state := job_state(address, submission_id)).exit_code is None:
        time.sleep(0.5)
    return state


def follow_job(address: str, submission_id: str, out: TextIO) -> JobState:
    """Copies the job's log to `out` until it ends; returns how it ended. Raises NoSuchJob, JobRefused, Unreachable."""
    with _one_line_errors(address, submission_id):
        client = _client(address)

    async def copy() -> None:
        async for text in client.tail_job_logs(submission_id):
            out.write(text)
            out.flush()

    job_state(address, submission_id)  # the log of a job that does not exist would be an error page
    with _one_line_errors(address, submission_id):
        asyncio.run(copy())
    return ended_job(address, submission_id)


def _client(address: str) -> JobSubmissionClient:
    """With the token of RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, which Ray itself sends only where RAY_AUTH_MODE, too,
    was set before it was imported."""
    token = os.environ.get("RAY_AUTH_TOKEN")
    if not token and (path := os.environ.get("RAY_AUTH_TOKEN_PATH")):
        token = Path(path).read_text().strip()
    return JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"} if token else None)


@contextmanager
def _one_line_errors(address: str, job: str = "") -> Iterator[None]:
    """Whatever the client raises, as an error of ours."""
    try:
        yield
    except (ConnectionError, NoConnection, Timeout, ClientError):
        raise Unreachable(f"{address}: no answer from a Ray jobs API; check the address and that Ray runs") from None
    except AuthenticationError:
        hint = "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's"
        raise JobRefused(f"{address}: refuses the token; {hint}") from None
    except (RuntimeError, RequestException) as error:
        if job and "status code 404" in str(error):
            raise NoSuchJob(f"{address}: no job {job} there") from None
        raise JobRefused(f"{address}: {_reason(error)}") from None


def _sentence(text: str) -> str:
    return " ".join(text.split())[:300]


def _reason(error: Exception) -> str:
    """The sentence of an API error that a user can act on."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if exists := next((line for line in lines if EXISTS in line), None):
        return exists
    return lines[-1] if lines else type(error).__name__
