"""Imports run one way (CONTRIBUTING.md): the table is checked against every import statement, inside functions too."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"xmodal", "pipelines", "infra", "tune_spaces", "tests"}
FORBIDDEN = {
    "xmodal": {"pipelines", "infra", "tune_spaces", "tests", "ray", "mlflow", "s3fs", "obstore", "boto3", "botocore"},
    "infra": {"xmodal", "pipelines", "tune_spaces", "tests"},
    "pipelines": {"tests", "mlflow"},
    "tune_spaces": OURS - {"tune_spaces"},
}
LIGHT = {"xmodal": {"scipy", "sklearn", "pycocoevalcap"}}
"""Imported inside the function that needs them only."""


def imports(path: Path, top_level: bool = False) -> Iterator[tuple[str, str]]:
    """(dotted module, its first part) of every import in a file."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.module.split(".")[0]


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    wrong = [
        (str(p.relative_to(ROOT)), name)
        for p in sources(folder)
        for name, top in imports(p)
        if top in FORBIDDEN[folder]
    ]
    assert sources(folder) and not wrong


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    found = [
        (str(p), top) for p in sources("xmodal") for _, top in imports(p, top_level=True) if top in LIGHT["xmodal"]
    ]
    assert not found


def test_mlflow_stands_in_few_files() -> None:
    found = {p.name for p in sources("infra") for _, top in imports(p) if top == "mlflow"}
    assert found <= {"tracking.py", "curves.py", "registry.py"} and found


def test_clients_of_object_storage_stand_in_few_files() -> None:
    """Which does what: `infra/storage`. The embedded server asks for itself by botocore whether it is up."""
    clients = {"obstore", "s3fs", "botocore", "boto3", "fsspec"}
    files = [path for folder in OURS - {"tests"} for path in sources(folder)]
    found = {(path.relative_to(ROOT).as_posix(), top) for path in files for _, top in imports(path) if top in clients}
    assert {path for path, _ in found if not path.startswith("infra/storage/")} == {"infra/seaweed.py"}
    assert {top for _, top in found} == clients - {"boto3"}


def test_tasks_never_import_each_other() -> None:
    tasks = {p.stem for p in sources("xmodal/tasks")} - {"__init__", "relations"}
    wrong = [
        (p.name, name)
        for p in sources("xmodal/tasks")
        if p.stem != "__init__"
        for name, _ in imports(p)
        if name.startswith("xmodal.tasks.") and name.split(".")[2] in tasks
    ]
    assert tasks and not wrong


def test_processes_that_only_hand_blocks_on_import_little() -> None:
    """Each of a training run's own processes costs its start on the way to the first step."""
    heavy = ["torch", "mlflow", "ray", "pandas", "pipelines.train.lanes", "pipelines.sources"]
    for module, found in (("pipelines.train.blocks", heavy), ("pipelines.train.loop", ["mlflow"])):
        code = f"import sys, {module}; print([name for name in {found} if name in sys.modules])"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
