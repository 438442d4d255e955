"""Addresses of a recipe, read where they are used.

`${env:NAME}` stands for a variable's value: recipe, checkpoint, MLflow and report keep the reference. No address may
hold a user name or a password, wherever it comes from: it would stand in messages and logs.
"""

import os
import re
from collections.abc import Mapping

from infra.secrecy import has_login
from xmodal.settings import SettingsError

_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")
CREDENTIALS = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for MLflow, AWS_* variables for S3"


def read_address(setting: str, text: str) -> str:
    """`text` with its references resolved now. Raises SettingsError for one that is not set, and for a user name or a
    password; no value is shown."""
    names = _REFERENCE.findall(text)
    if lost := next((name for name in names if name not in os.environ), None):
        raise SettingsError(f"{setting}: ${{env:{lost}}} is not set in the environment")
    found = _REFERENCE.sub(lambda one: os.environ[one[1]], text)
    if has_login(found):
        raise SettingsError(f"{setting}: this address holds a user name or a password; {CREDENTIALS}")
    return found


def optional_address(setting: str, text: str | None) -> str | None:
    """The same of a setting that may be absent."""
    return read_address(setting, text) if text else None


def from_environment(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """An address in a variable of that name; None where there is none."""
    return optional_address(name, environment.get(name))
