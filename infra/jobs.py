"""Work on a cluster through the Ray Jobs API.

Environment variables of a job are readable in clear text by anyone who may list jobs, so no variable that looks like a
secret is ever sent; the cluster's own nodes hold the credentials.
"""

import asyncio
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException, Timeout

from infra.storage import Unreachable

SECRET_WORDS = ("SECRET", "PASSWORD", "TOKEN", "CREDENTIAL", "PRIVATE", "ACCESS_KEY", "API_KEY")
NO_AGENT = "No available agent"
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


def is_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    return any(word in name.upper() for word in SECRET_WORDS)


def submit_job(
    address: str,
    command: Sequence[str],
    *,
    working_dir: str,
    environment: Mapping[str, str],
    submission_id: str | None = None,
    excludes: Sequence[str] = (),
) -> str:
    """Submits `command` (one shell-quoted line is made of it) and returns the submission id.

    The same id is accepted once: it is the idempotency key. Raises JobRefused with one line for a secret-looking
    variable, an id that was used or a working directory that is too large, Unreachable where nothing answers.
    """
    secret = next((name for name in environment if is_secret(name)), None)
    if secret:
        raise JobRefused(
            f"{secret}: job environments are readable in clear text, so secrets are not sent; set it on the nodes"
        )
    runtime = {"working_dir": working_dir, "excludes": list(excludes), "env_vars": dict(environment)}
    deadline = time.monotonic() + AGENT_DEADLINE
    while True:
        try:
            with _one_line_errors(address):
                client = JobSubmissionClient(address)
                return client.submit_job(
                    entrypoint=shlex.join(command), runtime_env=runtime, submission_id=submission_id
                )
        except JobRefused as error:
            if NO_AGENT not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)


def job_state(address: str, submission_id: str) -> JobState:
    """How the job stands now. Raises NoSuchJob, JobRefused, Unreachable."""
    with _one_line_errors(address, submission_id):
        found = JobSubmissionClient(address).get_job_info(submission_id)
    code = {"SUCCEEDED": 0, "FAILED": found.driver_exit_code or 1, "STOPPED": 1}.get(found.status.name)
    return JobState(found.status.name, _sentence(found.message or ""), code)


def job_log(address: str, submission_id: str) -> str:
    """What the job has written so far. Raises NoSuchJob, JobRefused, Unreachable."""
    with _one_line_errors(address, submission_id):
        return JobSubmissionClient(address).get_job_logs(submission_id)


def follow_job(address: str, submission_id: str, out: TextIO) -> JobState:
    """Copies the job's log to `out` until it ends; returns how it ended. Raises NoSuchJob, JobRefused, Unreachable."""
    with _one_line_errors(address, submission_id):
        client = JobSubmissionClient(address)

    async def copy() -> None:
        async for text in client.tail_job_logs(submission_id):
            out.write(text)
            out.flush()

    job_state(address, submission_id)  # the log of a job that does not exist would be an error page
    with _one_line_errors(address, submission_id):
        asyncio.run(copy())
    while (state := job_state(address, submission_id)).exit_code is None:
        time.sleep(0.5)
    return state


@contextmanager
def _one_line_errors(address: str, job: str = "") -> Iterator[None]:
    """Whatever the client raises, as an error of ours."""
    try:
        yield
    except (ConnectionError, NoConnection, Timeout, ClientError):
        raise Unreachable(f"{address}: no answer from a Ray jobs API; check the address and that Ray runs") from None
    except (RuntimeError, AuthenticationError, RequestException) as error:
        if job and "status code 404" in str(error):
            raise NoSuchJob(f"{address}: no job {job} there") from None
        raise JobRefused(f"{address}: {_reason(error)}") from None


def _sentence(text: str) -> str:
    return " ".join(text.split())[:300]


def _reason(error: Exception) -> str:
    """The sentence of an API error that a user can act on."""
    text = str(error)
    if "already exists" in text:
        return "a job with this submission id exists; give another id, or look at the one there"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
