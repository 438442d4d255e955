"""The image's lock has all that pyproject asks for, each with hashes; it is built by it, and runs without rights.

No container engine runs here: the image itself is built by whoever uses it.
"""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "infra/container"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS = ("server", "fast")
ASKED = PROJECT["project"]["dependencies"] + [
    one for extra in EXTRAS for one in PROJECT["project"]["optional-dependencies"][extra]
]


def locked(text: str) -> dict[str, tuple[Version, int]]:
    """Version and number of hashes of each package of a lock. Raises AssertionError for a line that is neither."""
    found = dict[str, tuple[Version, int]]()
    for entry in text.replace("\\\n", " ").splitlines():
        if entry.strip() and not entry.startswith("#"):
            match = re.fullmatch(r"([\w.-]+)==(\S+)((?: +--hash=sha256:[0-9a-f]{64})*) *", entry)
            assert match, f"not pinned: {entry[:80]}"
            found[canonicalize_name(match[1])] = (Version(match[2]), match[3].count("--hash"))
    return found


LOCK = locked((FOLDER / "requirements.lock").read_text())


@pytest.mark.parametrize("line", ASKED, ids=[Requirement(one).name for one in ASKED])
def test_the_lock_has_what_the_project_asks_for(line: str) -> None:
    asked = Requirement(line)
    version, _ = LOCK[canonicalize_name(asked.name)]
    assert asked.specifier.contains(version), f"{line}: the lock has {version}; make it again"


def test_every_package_has_a_hash() -> None:
    assert len(LOCK) > 100 and [name for name, (_, hashes) in LOCK.items() if hashes == 0] == []


def test_what_builds_the_project_is_locked_too() -> None:
    """It is built without isolation, by what is there."""
    (line,) = PROJECT["build-system"]["requires"]
    assert Requirement(line).specifier.contains(LOCK["setuptools"][0])


def test_a_package_without_hash_or_version_is_found() -> None:
    assert locked("click==8.1.0\n") == {"click": (Version("8.1.0"), 0)}
    with pytest.raises(AssertionError, match="not pinned: click>=8"):
        locked("click>=8\n")


def test_the_image_is_built_by_the_lock_and_runs_as_a_user_without_rights() -> None:
    text = (FOLDER / "Containerfile").read_text()
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert "--require-hashes --only-binary :all: --requirement requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]
    users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert "COPY . " not in text and "ADD " not in text
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for name in line.split()[:-1]}
    assert all((REPOSITORY / name).exists() for name in copied)
    assert {"xmodal", "pipelines", "infra", "tune_spaces"} <= copied


def test_the_cluster_names_the_image_s_ray() -> None:
    (cluster,) = YAML(typ="safe").load_all((REPOSITORY / "infra/kubernetes/base/cluster.yaml").read_text())
    assert Version(cluster["spec"]["rayVersion"]) == LOCK["ray"][0]
