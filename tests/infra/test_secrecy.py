"""What is shown of texts that hold secrets, and what counts as one."""

import subprocess
import sys

import pytest

from infra.secrecy import has_login, is_secret, known, shown
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "RAY_AUTH_TOKEN", "PGPASSWORD")),
        *((name, True) for name in ("MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "OPENAI_API_KEY", "MYSQL_PWD", "apikey")),
        *((name, False) for name in ("TOKENIZERS_PARALLELISM", "AWS_ENDPOINT_URL", "MONKEY", "RAY_AUTH_MODE", "HOME")),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_known_values_and_logins_are_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("SOME_API_KEY", "planted-value")
    monkeypatch.setenv("LONGER_SECRET", "planted-value-and-more")
    monkeypatch.setenv("SHORT_TOKEN", "true")
    monkeypatch.setenv("KEY_FILE_SECRET", str(tmp_path))
    assert {"planted-value", "planted-value-and-more"} <= known().keys()
    assert "true" not in known() and str(tmp_path) not in known()
    assert shown("a planted-value-and-more b planted-value: true") == "a *** b ***: true"
    assert (
        shown("at https://me:p@ss@host:5000/x and s3://bucket/a@b") == "at https://***@host:5000/x and s3://bucket/a@b"
    )
    assert shown("GET /k?X-Amz-Signature=abc&X-Amz-Credential=d%2Fe&x=1") == (
        "GET /k?X-Amz-Signature=***&X-Amz-Credential=***&x=1"
    )
    assert (
        has_login("postgresql://me@host/db") and not has_login("https://host/me@here") and not has_login("a@b.example")
    )


@pytest.mark.parametrize("how", ["raise", "warn"])
def test_tracebacks_and_log_lines_of_a_process_are_shown_so(how: str) -> None:
    program = (
        "import logging, os\nfrom infra.secrecy import watch_output\nwatch_output()\n"
        "value = os.environ['SOME_TOKEN']\n"
        "logging.getLogger('xmodal.x').warning('at http://me:word@host with %s', value)\n"
        "if os.environ['HOW'] == 'raise': raise RuntimeError(f'a bug at {value}')\n"
    )
    environment = {"SOME_TOKEN": "planted-value", "HOW": how}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert "planted-value" not in ended.stderr and ":word@" not in ended.stderr
    assert "at http://***@host with ***" in ended.stderr
    assert (ended.returncode, "RuntimeError: a bug at ***" in ended.stderr) == (
        (1, True) if how == "raise" else (0, False)
    )
