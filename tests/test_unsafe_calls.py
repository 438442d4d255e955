"""Calls through which a file could run code, be written elsewhere or take all memory: each place that has one is named.

The table is read off the syntax, so a new one fails here until someone has said why it is safe.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import REPOSITORY

FOLDERS = ("xmodal", "pipelines", "infra", "tune_spaces")
WATCHED = {
    "pickle.loads", "pickle.load", "cloudpickle.loads", "torch.load", "np.load", "numpy.load", "joblib.load",
    "Image.open", "eval", "exec", "os.system", "YAML", "yaml.load", "Environment", "extractall", "extract",
    "from_pretrained",
}  # fmt: skip
ALLOWED = {
    "pickle.loads": {"pipelines/train/blocks.py", "pipelines/prepare/workers.py"},
    "torch.load": {"xmodal/encoders/open_clip_weights.py", "xmodal/encoders/efficientnet_lite.py"},
    "np.load": {"xmodal/regions.py"},
    "Image.open": {
        "xmodal/decoding.py", "xmodal/transforms.py", "pipelines/report/pictures.py", "pipelines/predictions/exif.py",
    },
}  # fmt: skip
"""pickle: from our own driver to its own workers, over Ray, and never from storage."""
GUARDS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "Image.open": ("formats", None),
    "Environment": ("autoescape", None),
}
"""The keyword that each such call must have, and its value where that is what counts."""


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(file, what is called, call) of every watched call of the packages."""
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and (name := called(node)):
                    yield str(path.relative_to(REPOSITORY)), name, node


def called(node: ast.Call) -> str:
    """`pickle.loads` or `YAML` of a call; empty where it is not watched."""
    function = node.func
    whole = ast.unparse(function)
    last = function.attr if isinstance(function, ast.Attribute) else whole
    bare = {"extractall", "from_pretrained", "Environment", "YAML"}
    return whole if whole in WATCHED else last if last in bare else ""


def test_calls_that_run_code_stand_where_they_are_known() -> None:
    places: dict[str, set[str]] = {}
    for file, name, _ in calls():
        places.setdefault(name, set()).add(file)
    for name in ALLOWED:
        assert places.get(name) == ALLOWED[name], name
    assert not {"eval", "exec", "os.system", "extractall", "extract", "yaml.load", "cloudpickle.loads"} & places.keys()


def test_each_has_its_guard() -> None:
    seen: set[str] = set()
    for file, name, node in calls():
        if name in GUARDS:
            keyword, value = GUARDS[name]
            given = {one.arg: one.value for one in node.keywords}
            assert keyword in given, f"{file}:{node.lineno}: {name} without {keyword}"
            found = given[keyword]
            assert value is None or (isinstance(found, ast.Constant) and found.value == value), f"{file}:{node.lineno}"
            seen.add(name)
    assert seen == GUARDS.keys()


def test_yaml_builds_plain_values_alone() -> None:
    """ruamel's own default, the round trip that keeps comments, does so too; of its kinds only "unsafe" does not."""
    for file, _, node in (call for call in calls() if call[1] == "YAML"):
        assert [ast.unparse(one) for one in [*node.args, *node.keywords]] in ([], ["typ='safe'"]), (
            f"{file}:{node.lineno}"
        )


def test_no_model_may_bring_its_own_code() -> None:
    """Hugging Face loads a repository's Python only where `trust_remote_code` is true."""
    for path in (one for folder in FOLDERS for one in Path(REPOSITORY, folder).rglob("*.py")):
        assert "trust_remote_code=True" not in path.read_text(encoding="utf-8"), path
