"""What may be shown: texts without the secrets that this process knows, addresses without user names and passwords."""

import logging
import os
import re
import sys
import traceback
from types import TracebackType

LEAST = 8
"""Characters of a value that is looked for; shorter ones stand in ordinary words."""
_PARTS = ("SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE", "APIKEY")
_WORDS = {"KEY", "KEYS", "TOKEN", "TOKENS", "PASS", "PWD"}
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"<>]*@")
_SIGNATURE = re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s'\"<>]+")


def is_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    upper = name.upper()
    return any(part in upper for part in _PARTS) or not _WORDS.isdisjoint(re.split(r"[^A-Z0-9]+", upper))


def has_login(text: str) -> bool:
    """Whether an address in the text holds a user name or a password."""
    return _LOGIN.search(text) is not None


def known() -> dict[str, str]:
    """Secret values of this process's environment, each with the name of its variable; a path to one is none."""
    named = ((value, name) for name, value in os.environ.items() if is_secret(name))
    return {value: name for value, name in named if len(value) >= LEAST and not os.path.exists(value)}


def shown(text: str) -> str:
    """The text with `***` for what it may not show."""
    for value in sorted(known(), key=len, reverse=True):
        text = text.replace(value, "***")
    return _SIGNATURE.sub(r"\1***", _LOGIN.sub(r"\1***@", text))


def watch_output() -> None:
    """From now on tracebacks and log lines of this process are shown so."""
    sys.excepthook = _hook
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Shown())


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(shown("".join(traceback.format_exception(kind, error, trace))))


class _Shown(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))
