"""Which code a run was made with."""

import subprocess
from importlib.metadata import version


def git_commit() -> str:
    """The commit of the working directory, "" where it is no checkout or there is no git."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def code_version() -> dict[str, str]:
    """The version of the package, and the commit where it runs from a checkout."""
    return {"version": version("xmodal"), "commit": git_commit()}
