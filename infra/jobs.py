"""Work on a cluster through the Ray Jobs API.

Environment variables of a job are readable in clear text by anyone who may list jobs, so no variable that looks like a
secret is ever sent; the cluster's own nodes hold the credentials.
"""

import asyncio
import shlex
import sys
import time
from collections.abc import Mapping, Sequence

from ray.job_submission import JobStatus, JobSubmissionClient

SECRET_WORDS = ("SECRET", "PASSWORD", "TOKEN", "CREDENTIAL", "PRIVATE", "ACCESS_KEY", "API_KEY")
AGENT_DEADLINE = 90.0
"""Seconds in which a young cluster's job agent registers; until then the API answers with a server error."""


class JobRefused(Exception):
    """The cluster would not take the job; the text is one line."""


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
    variable, an id that was used, a working directory that is too large, or a cluster that does not answer.
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
            client = JobSubmissionClient(address)
            return client.submit_job(entrypoint=_line(command), runtime_env=runtime, submission_id=submission_id)
        except (ConnectionError, RuntimeError) as error:
            if "No available agent" in str(error) and time.monotonic() < deadline:
                time.sleep(1)
                continue
            raise JobRefused(f"{address}: {_reason(error)}") from None


def follow_job(address: str, submission_id: str) -> bool:
    """Copies the job's log to stderr until it ends; True where it succeeded."""
    client = JobSubmissionClient(address)

    async def copy() -> None:
        async for text in client.tail_job_logs(submission_id):
            sys.stderr.write(text)

    asyncio.run(copy())
    while not (status := client.get_job_status(submission_id)).is_terminal():
        time.sleep(0.5)
    return status == JobStatus.SUCCEEDED


def _line(command: Sequence[str]) -> str:
    return shlex.join(command)


def _reason(error: Exception) -> str:
    """The sentence of an API error that a user can act on."""
    text = str(error)
    if "already exists" in text:
        return "a job with this submission id exists; give another id, or look at the one there"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
